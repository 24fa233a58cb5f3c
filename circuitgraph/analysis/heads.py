"""What analyses of heads share: names, order, a picture of all heads, and where heads look."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from jaxtyping import Bool, Float, Int

from circuitgraph.analysis.measuring import rank_places
from circuitgraph.catalog.analysis_record import HeatmapRecord
from circuitgraph.engine.batch import make_inputs
from circuitgraph.engine.readings.looks import run_looks
from circuitgraph.graph.node import Node
from circuitgraph.models.language_model import LanguageModel

HeadPlace = tuple[int, int]  # layer and head
_MOST_NUMBERS = 2**27  # of attention patterns that are alive at a time


def list_heads(shape: tuple[int, int]) -> Iterator[tuple[HeadPlace, str]]:
    """All heads of that many layers and heads, in order, with their names."""
    for layer, head in np.ndindex(shape):
        yield (layer, head), name_head((layer, head))


def name_head(place: HeadPlace) -> str:
    """A head's name, ``a3.h1``."""
    return str(Node("head", *place))


def rank_heads(scores: Float[np.ndarray, "layers heads"], top: int) -> list[tuple[HeadPlace, str]]:
    """The heads of the highest scores, the highest first; numbers that are not finite last."""
    places = [(layer, head) for layer, head in rank_places(scores, top)]
    return [(place, name_head(place)) for place in places]


def draw_heads(title: str, unit: str, values: Float[np.ndarray, "layers heads"]) -> HeatmapRecord:
    """All heads of the model, a row for each layer."""
    n_layers, n_heads = values.shape
    return HeatmapRecord(
        title=title,
        unit=unit,
        row_axis="layer",
        column_axis="head",
        row_labels=[str(layer) for layer in range(n_layers)],
        column_labels=[str(head) for head in range(n_heads)],
        values=values.tolist(),
    )


def look_at_keys(
    model: LanguageModel,
    tokens: Int[np.ndarray, "batch pos"],
    mask: Bool[np.ndarray, "batch pos"],
    queries: Int[np.ndarray, "batch places"],
    keys: Int[np.ndarray, "kinds batch places"],
) -> tuple[
    Float[np.ndarray, "layers heads kinds batch places"],
    Float[np.ndarray, "layers kinds batch places"],
]:
    """What `run_looks` gives, a part of the prompts at a time."""
    spec, n_pos = model.spec, tokens.shape[1]
    at_once = max(1, _MOST_NUMBERS // (spec.n_layers * spec.n_heads * n_pos**2))
    runs = []
    for start in range(0, len(tokens), at_once):
        rows = slice(start, start + at_once)
        inputs = make_inputs(tokens[rows], mask[rows], queries[rows])
        runs.append(run_looks(model.transformer, inputs, queries[rows], keys[:, rows]))
    share, even = (
        np.concatenate([np.asarray(part, np.float64) for part in parts], axis=-2)
        for parts in zip(*runs, strict=True)
    )
    return share, even
