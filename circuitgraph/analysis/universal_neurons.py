"""Universality of neurons: which neurons of another model fire on the same tokens."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from circuitgraph.analysis.base import analysis
from circuitgraph.analysis.head_circuits import find_tops
from circuitgraph.analysis.places import choose_layers
from circuitgraph.catalog.analysis_record import (
    Cell,
    CurvesRecord,
    Reading,
    SeriesRecord,
    TableRecord,
)
from circuitgraph.engine.batch import make_inputs
from circuitgraph.engine.readings.hidden import run_hidden
from circuitgraph.errors import ArgumentError, DataError, check_at_least
from circuitgraph.graph.node import Node
from circuitgraph.models.language_model import LanguageModel
from circuitgraph.models.loading import load_model
from circuitgraph.tasks.prompts import Prompts, encode_clean

_AT_ONCE = 16  # prompts
_FEWEST = 8  # places over which a correlation may be taken


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
    own, theirs = (
        _measure_neurons(each, ids, skip, by_token)
        for each, ids in zip((model, second), texts, strict=True)
    )
    own = own[list(chosen)]
    shuffled = np.random.default_rng(seed).permutation(own.shape[-1])
    flat = _standardise(theirs.reshape(-1, theirs.shape[-1]))
    ours = _standardise(own.reshape(-1, own.shape[-1]))
    best, index = (each[:, 0] for each in find_tops(ours, flat, 1))
    chance = find_tops(ours[:, shuffled], flat, 1)[0][:, 0]
    shape = own.shape[:2]
    layers_of = np.repeat(chosen, shape[1]), np.tile(np.arange(shape[1]), shape[0])
    rows: list[list[Cell]] = []
    for i in np.argsort(-best, kind="stable")[:top]:
        match = np.unravel_index(index[i], theirs.shape[:2])
        names = [Node("neuron", int(a), int(b)) for a, b in (tuple(p[i] for p in layers_of), match)]
        rows.append([*map(str, names), float(best[i])])
    unit = "tokens" if by_token else "prompts, whose tokens the models cut in different ways"
    return Reading(
        tables=[
            _summarise_layers(chosen, best.reshape(shape), chance.reshape(shape)),
            TableRecord(
                title=f"Neurons of {model.name} and {second.name} that fire most alike",
                columns=["neuron", "is like", "correlation"],
                rows=rows,
            ),
        ],
        pictures=[_draw_layers(chosen, best.reshape(shape), chance.reshape(shape))],
        notes=[f"Correlations are over {own.shape[-1]:,} {unit}; shuffled: in another order."],
    )


def _encode_texts(model: LanguageModel, prompts: Prompts) -> list[tuple[int, ...]]:
    """The clean prompts in a model's own tokens."""
    spec, ids = model.spec, [encode_clean(p, model.text_tokenizer) for p in prompts.pairs]
    if spec.d_mlp is None or spec.experts is not None:
        what = "no MLPs" if spec.d_mlp is None else "a mixture of experts"
        raise ArgumentError(f"{model.name!r} has {what}: it has no neurons to match.")
    longest = max(map(len, ids))
    if longest > spec.n_ctx or not all(0 <= i < spec.d_vocab for each in ids for i in each):
        raise DataError(
            f"{model.name!r} cannot read these prompts: one is longer than its context of "
            f"{spec.n_ctx} tokens ({longest}), or has a token that it does not know."
        )
    return ids


def _measure_neurons(
    model: LanguageModel, texts: Sequence[Sequence[int]], skip: int, by_token: bool
) -> Float[np.ndarray, "layers d_mlp places"]:
    """Hidden values on each token, or their mean over each text."""
    lengths = np.array([len(ids) for ids in texts])
    mask = np.arange(lengths.max()) < lengths[:, None]
    tokens = np.zeros(mask.shape, np.int32)
    tokens[mask] = np.concatenate([np.asarray(ids, np.int32) for ids in texts])
    places = mask & (np.arange(mask.shape[1]) >= skip)
    n_places = int(places.sum()) if by_token else int(places.any(1).sum())
    if n_places < _FEWEST:
        raise DataError(f"Correlations over {n_places} places say nothing: give more prompts.")
    parts = []
    for start in range(0, len(texts), _AT_ONCE):
        rows = slice(start, start + _AT_ONCE)
        inputs = make_inputs(tokens[rows], mask[rows], lengths[rows] - 1)
        hidden = np.asarray(run_hidden(model.transformer, inputs))
        if by_token:
            parts.append(hidden[:, places[rows]])
        else:
            kept = places[rows][:, :, None]
            means = (hidden * kept).sum(2) / np.maximum(kept.sum(1), 1)
            parts.append(means[:, places[rows].any(1)])
    return np.concatenate(parts, axis=1).swapaxes(1, 2)


def _standardise(
    values: Float[np.ndarray, "neurons places"],
) -> Float[np.ndarray, "neurons places"]:
    """Rows whose products are correlations; of rows that never change, 0."""
    centred = values - values.mean(1, keepdims=True)
    size = np.linalg.norm(centred, axis=1, keepdims=True)
    return np.divide(centred, size, out=np.zeros_like(centred), where=size > 0)


def _summarise_layers(
    layers: Sequence[int],
    best: Float[np.ndarray, "layers d_mlp"],
    chance: Float[np.ndarray, "layers d_mlp"],
) -> TableRecord:
    limit = float(np.quantile(chance, 0.975))
    rows: list[list[Cell]] = [
        [layer, float(own.mean()), float(other.mean()), float((own > limit).mean())]
        for layer, own, other in zip(layers, best, chance, strict=True)
    ]
    return TableRecord(
        title="Highest correlation of each neuron with any neuron of the other model; share above "
        f"{limit:.3f}, which 2.5 % of shuffled ones reach",
        columns=["layer", "mean", "shuffled", "above chance"],
        rows=rows,
    )


def _draw_layers(
    layers: Sequence[int],
    best: Float[np.ndarray, "layers d_mlp"],
    chance: Float[np.ndarray, "layers d_mlp"],
) -> CurvesRecord:
    series = [
        SeriesRecord(
            name=name,
            y=values.mean(1).tolist(),
            low=np.quantile(values, 0.025, axis=1).tolist(),
            high=np.quantile(values, 0.975, axis=1).tolist(),
        )
        for name, values in (("as they are", best), ("shuffled", chance))
    ]
    return CurvesRecord(
        title="Highest correlation with a neuron of the other model: mean and 95 % of neurons",
        x_axis="layer",
        y_axis="correlation",
        x=list(layers),
        series=series,
    )
