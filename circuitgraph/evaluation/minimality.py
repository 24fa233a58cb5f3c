"""Minimality: a circuit should hold no edge that it can do without."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from jaxtyping import Bool, Float

from circuitgraph.catalog.judgement_record import EdgeEffect, MinimalityRecord
from circuitgraph.engine.experiment import Experiment
from circuitgraph.evaluation.baselines import (
    Baselines,
    check_graph,
    evaluate_masks,
    normalise_means,
)
from circuitgraph.evaluation.intervals import (
    estimate_from_means,
    find_quantiles,
    resample_means,
)
from circuitgraph.evaluation.minimality_level import EdgeSet, count_set_masks, find_level
from circuitgraph.graph.circuit import Circuit

_NOISE = 1e-5  # a smaller effect, as a share of full minus empty, is rounding of float32
_TOLERANCE_SHARE = 0.002  # of full minus empty, as ACDC's default threshold
_EDGES_AT_ONCE = 4096  # bounds the memory for resampled means: 2,000 for each edge


def measure_minimality(
    experiment: Experiment, circuit: Circuit, *, seed: int, bar: bool = False
) -> MinimalityRecord:
    """(m(C) - m(C - e)) / (m(full) - m(empty)) for every edge e of C, each taken out alone.

    Two edges that can stand in for each other are both unneeded by this measure, although the
    circuit needs one of them: the record's level says whether it holds such edges.

    Args:
        experiment: the experiment over prompts that the search did not see.

    Raises:
        GraphError: the circuit is of another graph than the experiment.
    """
    check_graph(experiment.graph, circuit)
    baselines, kept = Baselines.of(experiment), np.flatnonzero(circuit.mask)
    if not len(kept) or not baselines.differ:
        return MinimalityRecord(least=None, n_edges=len(kept), unneeded=[])
    whole, *without_one = evaluate_masks(
        experiment, _iterate_masks(circuit), len(kept) + 1, what="minimality", bar=bar
    )
    losses = whole[None] - np.stack(without_one)  # [edges of the circuit, batch]
    least = int(np.argmin(np.abs(losses.mean(axis=1, dtype=np.float64))))
    samples = np.stack([whole, without_one[least], baselines.empty, baselines.full])
    tolerance = choose_tolerance(experiment, circuit, baselines)

    def measure_sets(sets: list[EdgeSet]) -> Float[np.ndarray, " sets"]:
        masks = (_take_out(circuit, kept[list(edges)]) for edges in sets)
        values = evaluate_masks(experiment, masks, len(sets), what="minimality of sets", bar=bar)
        return (whole[None] - values).mean(axis=1, dtype=np.float64)

    reached = find_level(losses.mean(axis=1, dtype=np.float64), tolerance, measure_sets)
    return MinimalityRecord(
        least=EdgeEffect(
            edge=circuit.graph.edges[kept[least]],
            effect=estimate_from_means(
                _compute_effect, samples, seed, share=experiment.metric.is_share
            ),
        ),
        n_edges=len(kept),
        unneeded=[
            circuit.graph.edges[edge] for edge in kept[_find_unneeded(losses, baselines, seed)]
        ],
        level=reached.level,
        tolerance=tolerance,
        removable=[circuit.graph.edges[kept[place]] for place in reached.removable],
        n_pairs=reached.n_pairs,
    )


def choose_tolerance(experiment: Experiment, circuit: Circuit, baselines: Baselines) -> float:
    """What an edge must move the mean metric by to be needed.

    The threshold of the circuit's own ACDC search, where the experiment is by its metric and
    ablation; else 0.2 % of what lies between the whole model and nothing.
    """
    origin = circuit.provenance
    algorithm = origin.get("algorithm") or {}
    threshold = (algorithm.get("arguments") or {}).get("threshold")
    if algorithm.get("name") == "acdc" and threshold:
        names = (experiment.metric.name, experiment.ablation.name)
        if names == (origin.get("metric"), origin.get("ablation")):
            return float(threshold)
    gap = baselines.full.mean(dtype=np.float64) - baselines.empty.mean(dtype=np.float64)
    return _TOLERANCE_SHARE * abs(float(gap))


def count_masks(circuit: Circuit) -> int:
    """How many masks `measure_minimality` evaluates at most."""
    return len(circuit) + 3 + count_set_masks(len(circuit))


def _iterate_masks(circuit: Circuit) -> Iterator[Bool[np.ndarray, " edges"]]:
    """The circuit, and then the circuit without each of its edges."""
    yield circuit.mask
    for edge in np.flatnonzero(circuit.mask):
        yield _take_out(circuit, edge)


def _take_out(circuit: Circuit, edges: np.integer | np.ndarray) -> Bool[np.ndarray, " edges"]:
    mask = circuit.mask.copy()
    mask[edges] = False
    return mask


def _compute_effect(means: Float[np.ndarray, "n resamples"]) -> Float[np.ndarray, " resamples"]:
    whole, without_edge, empty, full = means
    return np.asarray(
        normalise_means(whole, empty, full) - normalise_means(without_edge, empty, full)
    )


def _find_unneeded(
    losses: Float[np.ndarray, "n batch"], baselines: Baselines, seed: int
) -> Bool[np.ndarray, " n"]:
    """Which edges have an interval of their effect that holds 0, give or take rounding."""
    full, empty = (x.mean(dtype=np.float64) for x in (baselines.full, baselines.empty))
    scale = abs(float(full - empty))
    bounds = [  # of each part [2, edges of the part]: low and high
        np.quantile(resample_means(part, seed), find_quantiles(losses.shape[1]), axis=1) / scale
        for part in np.split(losses, range(_EDGES_AT_ONCE, len(losses), _EDGES_AT_ONCE))
    ]
    low, high = np.concatenate(bounds, axis=1)
    return (low <= _NOISE) & (high >= -_NOISE)
