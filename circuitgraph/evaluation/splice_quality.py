"""How good dictionaries are: what is lost when their reconstructions stand in place of the model's
values.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from circuitgraph.catalog.dictionary_record import DictionaryRecord, LossRecord, SpliceRecord
from circuitgraph.catalog.records import Interval
from circuitgraph.engine.batch import check_tokens
from circuitgraph.engine.splice import measure_splice
from circuitgraph.errors import ArgumentError, list_problems
from circuitgraph.evaluation.intervals import estimate_from_means, estimate_mean
from circuitgraph.models.dictionaries.checking import check_dictionary
from circuitgraph.models.dictionaries.dictionary import Dictionary
from circuitgraph.models.dictionaries.stored_dictionary import StoredDictionary
from circuitgraph.models.language_model import LanguageModel
from circuitgraph.tasks.prompts import Prompts


def measure_splice_quality(
    model: LanguageModel, dictionaries: Sequence[Dictionary], prompts: Prompts, *, seed: int
) -> SpliceRecord:
    """Loss recovered, KL, L0, variance explained and dead features on clean prompts.

    All dictionaries are in the model at once. Errors of upper layers are measured on what the
    spliced lower layers make of the prompts. Positions are all tokens of a prompt, BOS among them.

    Args:
        dictionaries: one, or one for each layer; of a cross-layer transcoder all of them.
        seed: of the bootstrap.

    Raises:
        ModelError: a dictionary does not fit the model.
        ArgumentError: two that write for one place, a part of a cross-layer transcoder alone, or
            fewer than two prompts.
        DataError: prompts that the model cannot read.
    """
    for dictionary in dictionaries:
        check_dictionary(dictionary, model.spec)
    ordered = _order_dictionaries(dictionaries)
    check_tokens(model.spec, prompts)
    measures = measure_splice(model.transformer, prompts, ordered)
    fires = measures.fired.max(axis=0)
    # mean squared distance to the mean of all tokens, from each prompt's own means
    n_tokens = prompts.mask.sum(axis=1)
    centre = (measures.values * n_tokens[:, None]).sum(axis=0) / n_tokens.sum()
    spread = measures.squares - 2 * measures.values @ centre + centre @ centre
    return SpliceRecord(
        n_prompts=len(prompts),
        n_tokens=int(n_tokens.sum()),
        next_token=_describe_losses(measures.losses, seed),
        answer=_describe_losses(measures.answer_losses, seed),
        kl=estimate_mean(measures.kl, seed),
        l0=estimate_mean(measures.n_active, seed),
        variance_explained=_explain_variance(measures.errors, spread, seed),
        n_features=len(fires),
        n_dead=int((fires == 0).sum()),
    )


def describe_dictionary(dictionary: Dictionary | StoredDictionary) -> DictionaryRecord:
    """What is written down of a dictionary."""
    spec = dictionary.spec
    if isinstance(dictionary, StoredDictionary):
        skips = dictionary.parts.w_skip is not None
    else:
        skips = dictionary.w_skip is not None
    return DictionaryRecord(
        layout=spec.layout,
        kind=spec.kind,
        n_features=dictionary.n_features,
        d_in=dictionary.d_in,
        d_out=dictionary.d_out,
        activation=spec.activation,
        k=spec.k,
        normalisation=spec.normalisation,
        input_scale=spec.input_scale,
        subtracts_b_dec=spec.subtracts_b_dec,
        decoder_norm=spec.decoder_norm,
        skips=skips,
        reads=None if spec.reads is None else str(spec.reads),
        writes=[str(hook) for hook in spec.writes],
        model_name=spec.model_name,
        can_be_nodes=spec.can_be_nodes,
        node_problem=spec.node_problem,
    )


def _order_dictionaries(dictionaries: Sequence[Dictionary]) -> list[Dictionary]:
    """Lowest layer first; refuses those that cannot be in a model at once."""
    ordered = sorted(dictionaries, key=lambda d: d.spec.writes[0].layer)
    own = [dictionary.spec.writes[0] for dictionary in ordered]
    problems = [
        f"{hook} is written by several" for hook in sorted(set(own), key=str) if own.count(hook) > 1
    ]
    written = {hook for dictionary in ordered for hook in dictionary.spec.writes}
    problems += [
        f"{hook} is written, but the dictionary of that layer is not there: of a cross-layer "
        "transcoder give all layers"
        for hook in sorted(written - set(own), key=str)
    ]
    if not ordered or problems:
        title = "These dictionaries cannot be in a model at once:"
        raise ArgumentError(list_problems(title, problems or ["there are none"]))
    return ordered


def _describe_losses(losses: Float[np.ndarray, "three prompts"], seed: int) -> LossRecord | None:
    """Losses of the model, spliced, and with zeros; None where no prompt has any."""
    if np.isnan(losses).any():
        return None
    model, spliced, zeros = (estimate_mean(sample, seed) for sample in losses)
    recovered = None
    if zeros.mean > model.mean:
        recovered = estimate_from_means(lambda m: (m[2] - m[1]) / (m[2] - m[0]), losses, seed)
    return LossRecord(model=model, spliced=spliced, zeros=zeros, recovered=recovered)


def _explain_variance(
    errors: Float[np.ndarray, " prompts"], spread: Float[np.ndarray, " prompts"], seed: int
) -> Interval | None:
    """1 - squared error / variance; None where the values do not vary."""
    if spread.mean() <= 0:
        return None
    return estimate_from_means(lambda m: 1 - m[0] / m[1], np.stack([errors, spread]), seed)
