"""What probes see: vectors of prompts at one position, and the classes that they belong to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jax import Array
from jaxtyping import Float, Int

from circuitgraph.analysis.measuring import collect_runs
from circuitgraph.analysis.places import check_corrupted, check_mlps, find_positions
from circuitgraph.analysis.probe_fits import Labels, choose_examples
from circuitgraph.engine.batch import check_tokens, make_batch
from circuitgraph.engine.readings.sites import VectorSite, run_sites
from circuitgraph.errors import DataError
from circuitgraph.models.language_model import LanguageModel
from circuitgraph.tasks.prompts import Prompts

ANSWER, SIDE = "answer", "side"
SIDES = ("clean", "corrupted")
_AT_ONCE = 16  # prompts


@dataclass(frozen=True)
class Examples:
    """Prompts with the class of each.

    Attributes:
        sides, pairs: which side of which pair an example is.
        groups: examples whose clean prompts are the same have the same number.
        labels: numbers of classes, by which ``names`` are sorted.
        n_left_out: examples of classes that are too small.
    """

    sides: Int[np.ndarray, " examples"]
    pairs: Int[np.ndarray, " examples"]
    groups: Int[np.ndarray, " examples"]
    labels: Labels
    names: Sequence[str]
    n_left_out: int = 0


def label_examples(model: LanguageModel, prompts: Prompts, label: str, folds: int) -> Examples:
    """The class of each prompt; classes too small for every fold to have one are left out.

    Args:
        label: ``answer``; ``side``, whether a prompt is clean or corrupted; or a role, whose token
            is the class.

    Raises:
        UnknownNameError: a role that a prompt does not have.
        DataError: no answers, or no corrupted prompts, or fewer than two classes that are large
            enough.
    """
    check_tokens(model.spec, prompts)
    n, tokenizer = len(prompts), model.text_tokenizer
    sides, pairs = np.zeros(n, int), np.arange(n)
    if label == SIDE:
        check_corrupted(prompts, "a probe of the side")
        sides, pairs = np.repeat([0, 1], n), np.tile(pairs, 2)
        tokens, decode = sides, SIDES.__getitem__
    elif label == ANSWER:
        if prompts.answer is None or prompts.answer.ndim > 1:
            raise DataError(
                "A probe of the answer needs one token that is the answer of each pair."
            )
        tokens, decode = prompts.answer, tokenizer.decode_answer
    else:
        at = find_positions(prompts, label)[:, 0]
        tokens, decode = prompts.clean[pairs, at], lambda token: tokenizer.decode([token])
    _, same = np.unique(prompts.clean, axis=0, return_inverse=True)
    groups = same.reshape(-1)[pairs]
    kept = choose_examples(tokens.astype(int), groups, folds)
    values, labels = np.unique(tokens[kept], return_inverse=True)
    names = [decode(int(value)) for value in values]
    return Examples(sides[kept], pairs[kept], groups[kept], labels, names, int((~kept).sum()))


def collect_vectors(
    model: LanguageModel, prompts: Prompts, examples: Examples, at: str | int, site: VectorSite
) -> Float[np.ndarray, "layers examples d"]:
    """The vectors of all layers; of the stream, the embedding comes first.

    Raises:
        ArgumentError: a site of MLPs in a model without any, or a position outside a prompt.
        UnknownNameError: a role that a prompt does not have.
        DataError: several scored positions.
    """
    if site in ("mlp", "mlp-norm"):
        check_mlps(model, f"The site {site!r}")
    places = find_positions(prompts, at).astype(np.int32)
    if places.shape[1] > 1:
        raise DataError("The prompts have several scored positions: name a role or a position.")
    by_side = []
    for side in np.unique(examples.sides):

        def run(rows: slice, side: int = int(side)) -> Float[Array, "layers batch d"]:
            batch = make_batch(prompts, rows)
            inputs = batch.corrupted if side else batch.inputs
            assert inputs is not None  # noqa: S101 - sides are checked before
            return run_sites(model.transformer, inputs._replace(score_at=places[rows]), site)

        by_side.append(collect_runs(prompts, _AT_ONCE, run, axis=1))
    # [sides, layers, prompts, d] to [layers, examples, d]
    return np.moveaxis(np.stack(by_side)[examples.sides, :, examples.pairs], 0, 1)
