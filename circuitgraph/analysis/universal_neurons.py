"""Universality of neurons: which neurons of another model fire on the same tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from circuitgraph.analysis.base import analysis
from circuitgraph.analysis.head_circuits import find_tops
from circuitgraph.analysis.measuring import rank_places
from circuitgraph.analysis.neuron_names import name_neuron
from circuitgraph.analysis.places import check_neurons, choose_layers
from circuitgraph.catalog.analysis_record import (
    Cell,
    CurvesRecord,
    Reading,
    SeriesRecord,
    TableRecord,
)
from circuitgraph.engine.batch import make_inputs
from circuitgraph.engine.readings.hidden import run_hidden
from circuitgraph.errors import DataError, check_at_least
from circuitgraph.models.language_model import LanguageModel
from circuitgraph.models.loading import load_model
from circuitgraph.tasks.prompts import Prompts, encode_clean

_AT_ONCE = 16  # prompts
_ROUNDING = 1e-5  # of a neuron's size: what changes less does not change
_FEWEST = 8  # places over which a correlation may be taken


@dataclass(frozen=True)
class _Matches:
    """The highest correlation of each neuron with any neuron of another model.

    Attributes:
        neurons: which one that is, its layer and its index.
        shuffled, same_place: the highest correlations where tokens are shuffled, and where they are
            shuffled among those of one place.
    """

    best: Float[np.ndarray, "layers d_mlp"]
    neurons: Int[np.ndarray, "layers d_mlp 2"]
    shuffled: Float[np.ndarray, "layers d_mlp"]
    same_place: Float[np.ndarray, "layers d_mlp"]


@analysis(
    "universal-neurons",
    source="Gurnee et al. 2024",
    cannot_tell="whether neurons that fire together do the same, nor what they do beyond these "
    "prompts; and a direction that both models have need be no neuron of either.",
)
def read_universal_neurons(
    model: LanguageModel,
    prompts: Prompts,
    *,
    other: str,
    layers: tuple[int, ...] | None = None,
    skip: int = 1,
    top: int = 10,
    seed: int = 0,
) -> Reading:
    """Which neurons of another model fire on the same tokens: for each neuron the highest
    correlation of hidden values over the prompts, beside shuffled ones.

    With one tokenizer for both, over tokens; else over prompts, by the means of their tokens.

    Args:
        other: name or folder of the other model.
        layers: of this model, whose neurons are matched; by default all.
        skip: tokens at the beginning of each prompt that are left out; on the first one, models
            have values of another size than on all others.
        top: how many matches to show.
        seed: of the shuffling.

    Raises:
        ArgumentError: a model without MLPs, or one of experts; a layer that the model does not
            have.
        DataError: too few tokens or prompts, or the models cannot read them.
    """
    check_at_least("skip", skip, 0)
    check_at_least("top", top, 1)
    chosen = choose_layers(model.spec, layers)
    second = load_model(other)
    texts = [_encode_texts(each, prompts) for each in (model, second)]
    by_token = texts[0] == texts[1]
    (own, places), (theirs, _) = (
        _measure_neurons(each, ids, skip, by_token)
        for each, ids in zip((model, second), texts, strict=True)
    )
    matches = _find_matches(own[list(chosen)], theirs, places, seed)
    unit, group = "tokens", "of one position"
    if not by_token:
        unit, group = "prompts, whose tokens the models cut in different ways", "of one length"
    return Reading(
        tables=[
            _summarise_layers(chosen, matches, group),
            _list_matches((model, second), chosen, matches, top),
        ],
        pictures=[_draw_layers(chosen, matches, group)],
        notes=[
            f"Correlations are over {own.shape[-1]:,} {unit}. Chance, twice: shuffled, and "
            f"shuffled among those {group}, which leaves what the place alone gives."
        ],
    )


def _find_matches(
    own: Float[np.ndarray, "layers d_mlp places"],
    theirs: Float[np.ndarray, "others d_other places"],
    places: Int[np.ndarray, " places"],
    seed: int,
) -> _Matches:
    """Match all neurons, as they are and shuffled."""
    shape, rng = own.shape[:2], np.random.default_rng(seed)
    ours, others = (_standardise(x.reshape(-1, x.shape[-1])) for x in (own, theirs))
    # tokens in any order, and in any order among those of one place
    anywhere = rng.permutation(len(places))
    alike = np.empty(len(places), int)
    alike[np.lexsort((rng.random(len(places)), places))] = np.argsort(places, kind="stable")
    best, index = (x[:, 0].reshape(shape) for x in find_tops(ours, others, 1))
    shuffled, same_place = (
        find_tops(ours[:, order], others, 1)[0][:, 0].reshape(shape) for order in (anywhere, alike)
    )
    neurons = np.stack(np.unravel_index(index, theirs.shape[:2]), axis=-1)
    return _Matches(best, neurons, shuffled, same_place)


def _list_matches(
    models: tuple[LanguageModel, LanguageModel], layers: Sequence[int], matches: _Matches, top: int
) -> TableRecord:
    rows: list[list[Cell]] = []
    for row, neuron in rank_places(matches.best, top):
        own = name_neuron((layers[row], neuron))
        layer, number = map(int, matches.neurons[row, neuron])
        rows.append([own, name_neuron((layer, number)), float(matches.best[row, neuron])])
    return TableRecord(
        title=f"Neurons of {models[0].name} and {models[1].name} that fire most alike",
        columns=["neuron", "is like", "correlation"],
        rows=rows,
    )


def _encode_texts(model: LanguageModel, prompts: Prompts) -> list[tuple[int, ...]]:
    """The clean prompts in a model's own tokens."""
    spec, ids = model.spec, [encode_clean(p, model.text_tokenizer) for p in prompts.pairs]
    check_neurons(model, "universal-neurons")
    longest, unknown = max(map(len, ids)), model.text_tokenizer.unknown_id
    if longest > spec.n_ctx:
        raise DataError(
            f"A prompt has {longest} tokens of {model.name!r}, whose context is {spec.n_ctx}: use "
            "shorter prompts."
        )
    for pair, each in zip(prompts.pairs, ids, strict=True):
        if unknown in each or not all(0 <= i < spec.d_vocab for i in each):
            raise DataError(
                f"{model.name!r} does not know all of {pair.clean!r}: compare models by texts that "
                "both can read."
            )
    return ids


def _measure_neurons(
    model: LanguageModel, texts: Sequence[Sequence[int]], skip: int, by_token: bool
) -> tuple[Float[np.ndarray, "layers d_mlp places"], Int[np.ndarray, " places"]]:
    """Hidden values on each token, or their mean over each text; and the position of each token, or
    the length of each text.
    """
    lengths = np.array([len(ids) for ids in texts])
    at = np.arange(lengths.max())
    mask = at < lengths[:, None]
    tokens = np.zeros(mask.shape, np.int32)
    tokens[mask] = np.concatenate([np.asarray(ids, np.int32) for ids in texts])
    # a text that has no more than the tokens to skip counts with these
    kept = mask & ((at >= skip) | (lengths <= skip)[:, None] & (not by_token))
    places = np.nonzero(kept)[1] if by_token else lengths
    if len(places) < _FEWEST:
        unit = "tokens" if by_token else "prompts"
        raise DataError(f"Correlations over {len(places)} {unit} say nothing: give more prompts.")
    parts = []
    for start in range(0, len(texts), _AT_ONCE):
        rows = slice(start, start + _AT_ONCE)
        inputs = make_inputs(tokens[rows], mask[rows], lengths[rows] - 1)
        hidden, own = np.asarray(run_hidden(model.transformer, inputs)), kept[rows]
        means = (hidden * own[..., None]).sum(2) / np.maximum(own.sum(1), 1)[:, None]
        parts.append(hidden[:, own] if by_token else means)
    return np.concatenate(parts, axis=1).swapaxes(1, 2), places


def _standardise(
    values: Float[np.ndarray, "neurons places"],
) -> Float[np.ndarray, "neurons places"]:
    """Rows whose products are correlations; of rows that never change, 0."""
    centred = values - values.mean(1, keepdims=True)
    size, whole = (np.linalg.norm(x, axis=1, keepdims=True) for x in (centred, values))
    changes = size > _ROUNDING * whole
    return np.divide(centred, size, out=np.zeros_like(centred), where=changes)


def _summarise_layers(layers: Sequence[int], matches: _Matches, group: str) -> TableRecord:
    limit = float(np.quantile(matches.same_place, 0.975))
    samples = zip(layers, matches.best, matches.shuffled, matches.same_place, strict=True)
    rows: list[list[Cell]] = [
        [layer, *(float(x.mean()) for x in (best, *chance)), float((best > limit).mean())]
        for layer, best, *chance in samples
    ]
    return TableRecord(
        title="Highest correlation of each neuron with any neuron of the other model; share above "
        f"{limit:.3f}, which 2.5 % reach that are shuffled among those {group}",
        columns=["layer", "mean", "shuffled", f"those {group}", "above chance"],
        rows=rows,
    )


def _draw_layers(layers: Sequence[int], matches: _Matches, group: str) -> CurvesRecord:
    curves = {
        "as they are": matches.best,
        "shuffled": matches.shuffled,
        f"shuffled among those {group}": matches.same_place,
    }
    series = [
        SeriesRecord(
            name=name,
            y=values.mean(1).tolist(),
            low=np.quantile(values, 0.025, axis=1).tolist(),
            high=np.quantile(values, 0.975, axis=1).tolist(),
        )
        for name, values in curves.items()
    ]
    return CurvesRecord(
        title="Highest correlation with a neuron of the other model: mean and 95 % of neurons",
        x_axis="layer",
        y_axis="correlation",
        x=list(layers),
        series=series,
    )
