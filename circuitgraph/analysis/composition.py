"""Composition: which heads read what which earlier heads write, by their weights alone."""

from __future__ import annotations

from typing import Literal

import jax
import numpy as np
from jaxtyping import Float

from circuitgraph.analysis.base import analysis
from circuitgraph.analysis.heads import list_heads
from circuitgraph.analysis.measuring import rank_places
from circuitgraph.catalog.analysis_record import Cell, HeatmapRecord, Reading, TableRecord
from circuitgraph.engine.readings.composition import run_composition, run_random_composition
from circuitgraph.engine.readings.head_matrices import list_approximations
from circuitgraph.errors import ArgumentError, check_at_least, check_between
from circuitgraph.graph.node import Node
from circuitgraph.models.language_model import LanguageModel

Side = Literal["q", "k", "v"]
SIDES: tuple[Side, ...] = ("q", "k", "v")
_MOST_DRAWN = 64  # heads
_RANDOM_HEADS = 24  # whose pairs, of each with each other, are the baseline


@analysis(
    "composition",
    source="Elhage et al. 2021",
    cannot_tell="whether the reader makes use of it: streams hold other things than one head's "
    "output, and the score counts directions that no token ever takes.",
)
def read_composition(model: LanguageModel, *, offset: int = 1, top: int = 10) -> Reading:
    """How much of what each head writes the query, key and value of each later head read: the
    Frobenius norm of the product of their matrices over the product of their norms.

    Args:
        offset: how many positions the query stands after the key, where the model has rotary
            positions; else it changes nothing.
        top: how many pairs of heads to show for each of query, key and value.

    Raises:
        ArgumentError: a model of one layer, whose heads read no other, or an offset beyond the
            context.
    """
    spec = model.spec
    if spec.n_layers < 2:
        raise ArgumentError(f"{model.name!r} has one layer: no head reads what another one writes.")
    check_at_least("top", top, 1)
    check_between("offset", offset, 0, spec.n_ctx - 1)
    scores = measure_composition(model, offset)
    baseline = _measure_random(spec.d_head, spec.d_model)
    notes = [
        "Baseline: heads of normal random matrices of this size, and what 2.5 % of their pairs "
        "reach.",
        *list_approximations(spec, queries=True),
    ]
    if spec.n_kv_heads < spec.n_heads:
        notes.append(
            f"Grouped keys and values: exact; {spec.n_heads // spec.n_kv_heads} heads share each, "
            "so that by v, and in part by k, they read alike."
        )
    if spec.ropes:
        notes.append(f"Rotary positions: exact for a query that stands {offset} after its key.")
    return Reading(
        tables=[_make_table(scores, i, baseline[i], top) for i in range(3)],
        pictures=[_draw_scores(scores[:, :, i], side) for i, side in enumerate(SIDES)],
        notes=notes,
    )


def measure_composition(
    model: LanguageModel, offset: int = 1
) -> Float[np.ndarray, "layers heads 3 layers heads"]:
    """Of each reader (first axes), by q, k and v, with each writer (last axes); NaN where the
    writer does not stand in an earlier layer.
    """
    run = run_composition(model.transformer, np.int32(offset))
    scores, layers = np.array(run, np.float64), np.arange(model.spec.n_layers)
    earlier = layers[:, None] > layers  # [readers, writers]
    scores[np.broadcast_to(~earlier[:, None, None, :, None], scores.shape)] = np.nan
    return scores


def _measure_random(d_head: int, d_model: int) -> Float[np.ndarray, "3 pairs"]:
    """Scores of pairs of random heads, by q, k and v."""
    run = run_random_composition(jax.random.key(0), (d_head, d_model), _RANDOM_HEADS)
    scores = np.asarray(run, np.float64)[0, :, :, 0]  # [readers, 3, writers]
    pairs = ~np.eye(_RANDOM_HEADS, dtype=bool)
    return scores.swapaxes(0, 1)[:, pairs]


def _make_table(
    scores: Float[np.ndarray, "layers heads 3 layers heads"],
    number: int,
    baseline: Float[np.ndarray, " pairs"],
    top: int,
) -> TableRecord:
    of_side, mean = scores[:, :, number], float(baseline.mean())
    rows: list[list[Cell]] = []
    for place in rank_places(of_side, min(top, int(np.isfinite(of_side).sum()))):
        reader, head, layer, writer = place
        score = float(of_side[place])
        names = [str(Node("head", layer, writer)), f"{Node('head', reader, head)}<{SIDES[number]}>"]
        rows.append([*names, score, score - mean])
    return TableRecord(
        title=f"Composition by {SIDES[number]}; random heads have {mean:.3g}, 2.5 % of them more "
        f"than {np.quantile(baseline, 0.975):.3g}",
        columns=["writer", "reader", "score", "over random"],
        rows=rows,
    )


def _draw_scores(
    scores: Float[np.ndarray, "layers heads layers heads"], side: Side
) -> HeatmapRecord:
    """All pairs of heads, or of larger models the strongest pair of each pair of layers."""
    n_layers, n_heads = scores.shape[:2]
    pairs, what, unit = scores[1:, :, :-1], "head", "all pairs of heads"
    labels = [name for _, name in list_heads((n_layers, n_heads))]
    values = pairs.reshape(pairs.shape[0] * n_heads, -1)
    if len(labels) > _MOST_DRAWN:
        what, unit = "layer", "the strongest pair of heads of two layers"
        labels, n_heads = [str(layer) for layer in range(n_layers)], 1
        values = np.nan_to_num(pairs, nan=-np.inf).max(axis=(1, 3))
    return HeatmapRecord(
        title=f"Composition by {side}: {unit}",
        unit="score",
        row_axis=f"{what} that reads",
        column_axis=f"{what} that writes",
        row_labels=labels[n_heads:],
        column_labels=labels[:-n_heads],
        values=values.tolist(),
    )
