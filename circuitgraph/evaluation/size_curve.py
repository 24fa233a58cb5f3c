"""Faithfulness over the size of a circuit, and MIB's two areas under it (Mueller et al. 2025)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from circuitgraph.catalog.judgement_record import SizeCurveRecord, SizePoint
from circuitgraph.catalog.records import Interval
from circuitgraph.engine.experiment import Experiment
from circuitgraph.errors import check_at_least
from circuitgraph.evaluation.baselines import (
    Baselines,
    compute_faithfulness,
    evaluate_masks,
    normalise_means,
    normalise_samples,
)
from circuitgraph.evaluation.intervals import estimate_from_means, summarise_spread
from circuitgraph.graph.circuit import Circuit
from circuitgraph.graph.graph import Graph

SHARES = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
STEP = 1.1  # from one size to the next in `find_smallest_faithful`

Masks = Bool[np.ndarray, "n edges"]
Table = Float[np.ndarray, "n batch"]


@dataclass(frozen=True)
class _MaskValues:
    """The metric of each prompt under many masks; equal masks are evaluated once."""

    rows: dict[bytes, np.ndarray]

    @classmethod
    def of(cls, experiment: Experiment, masks: Sequence[Masks], bar: bool) -> _MaskValues:
        different = {mask.tobytes(): mask for group in masks for mask in group}
        values = evaluate_masks(
            experiment, different.values(), len(different), what="size curve", bar=bar
        )
        return cls(dict(zip(different, values, strict=True)))

    def look_up(self, masks: Masks) -> Table:
        return np.stack([self.rows[mask.tobytes()] for mask in masks])


def measure_size_curve(
    experiment: Experiment,
    scores: Float[np.ndarray, " edges"],
    *,
    seed: int,
    n_random: int = 5,
    prune: bool = True,
    bar: bool = False,
) -> SizeCurveRecord:
    """Faithfulness of the strongest 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100 % of edges, CPR, CMD.

    Numbers of edges are rounded down, so that in a small graph the smallest circuits are empty.
    Edges on no path are pruned, as MIB does; the place on the axis stays the nominal one.

    Args:
        experiment: the experiment over prompts that the search did not see.
        scores: positive where an edge is of use, such as `Scoring` gives and `rank_edges` makes.
        n_random: number of random rankings beside it.
        prune: drop the edges that lie on no path. Give what the search does with its own circuit,
            so that this circuit has the same value here as on its own: under mean and zero
            ablation pruning changes values.

    Raises:
        ArgumentError: scores that are NaN.
        GraphError: not one score for each of the graph's edges.
    """
    check_at_least("n_random", n_random, 2)
    graph, baselines = experiment.graph, Baselines.of(experiment)
    signed = _select_strongest(graph, scores, absolute=False, prune=prune)
    absolute = _select_strongest(graph, scores, absolute=True, prune=prune)
    if not baselines.differ:
        areas = dict.fromkeys(("cpr", "cmd", "random_cpr", "random_cmd", "size_95"))
        return SizeCurveRecord(points=[], n_random=n_random, **areas)
    rng = np.random.default_rng([seed, n_random])
    rivals = [
        _select_strongest(graph, rng.random(graph.n_edges), absolute=True, prune=prune)
        for _ in range(n_random)
    ]
    values = _MaskValues.of(experiment, [signed, absolute, *rivals], bar)
    of_signed, of_absolute, *of_rivals = (
        _stack_samples(values.look_up(masks), baselines) for masks in (signed, absolute, *rivals)
    )
    random = [  # each is its own only resample: [2 + sizes, batch] -> [2 + sizes, 1]
        samples.mean(axis=1, keepdims=True, dtype=np.float64) for samples in of_rivals
    ]
    share = experiment.metric.is_share
    return SizeCurveRecord(
        points=_make_points(graph, signed, absolute, values, baselines, seed, share),
        cpr=estimate_from_means(_compute_cpr, of_signed, seed, share=share),
        cmd=estimate_from_means(_compute_cmd, of_absolute, seed, share=share),
        random_cpr=summarise_spread([_compute_cpr(means)[0] for means in random]),
        random_cmd=summarise_spread([_compute_cmd(means)[0] for means in random]),
        n_random=n_random,
        size_95=find_smallest_faithful(experiment, scores, 0.95, prune=prune),
    )


def find_smallest_faithful(
    experiment: Experiment,
    scores: Float[np.ndarray, " edges"],
    faithfulness: float,
    *,
    prune: bool = True,
) -> int | None:
    """How many edges the smallest circuit has whose faithfulness is at least this.

    Tried are the strongest n edges by the size of their scores, less those on no path if
    ``prune``, for n = 1, 2, ... and from 20 on in steps of a tenth up to the whole graph. The first
    circuit that reaches it counts, whatever larger ones do.

    Returns:
        None where no circuit reaches it, or whole model and nothing do not differ.
    """
    graph, baselines = experiment.graph, Baselines.of(experiment)
    if not baselines.differ:
        return None
    sizes, n_together = _list_sizes(graph.n_edges), 8
    for i in range(0, len(sizes), n_together):
        masks = _select_sizes(graph, scores, sizes[i : i + n_together], prune=prune)
        ratios = normalise_samples(experiment.values(masks), baselines.empty, baselines.full)
        reached = ratios >= faithfulness
        if reached.any():
            return int(masks[int(np.argmax(reached))].sum())
    return None


def count_masks(n_random: int = 5) -> int:
    """How many masks `measure_size_curve` evaluates, that for the size at 0.95 left out."""
    return 2 + len(SHARES) * (2 + n_random)


def count_edges(graph: Graph, share: float) -> int:
    """How many edges a share of a graph's edges is, rounded down as MIB does."""
    return int(share * graph.n_edges)


def _list_sizes(n_edges: int) -> list[int]:
    sizes = [1]
    while sizes[-1] < n_edges:
        sizes.append(min(n_edges, max(sizes[-1] + 1, int(sizes[-1] * STEP))))
    return sizes


def _select_strongest(
    graph: Graph, scores: Float[np.ndarray, " edges"], *, absolute: bool, prune: bool
) -> Masks:
    """The circuits at all shares."""
    sizes = [count_edges(graph, share) for share in SHARES]
    return _select_sizes(graph, scores, sizes, absolute=absolute, prune=prune)


def _select_sizes(
    graph: Graph,
    scores: Float[np.ndarray, " edges"],
    sizes: Sequence[int],
    *,
    absolute: bool = True,
    prune: bool,
) -> Masks:
    """The circuits of the strongest edges, of these numbers of edges before pruning."""
    circuits = [Circuit.top(graph, scores, n, absolute=absolute) for n in sizes]
    return np.stack([(c.pruned() if prune else c).mask for c in circuits])


def _stack_samples(values: Table, baselines: Baselines) -> Float[np.ndarray, "all batch"]:
    """Rows: empty, full, then the values."""
    return np.stack([baselines.empty, baselines.full, *values])


def _compute_cpr(means: Float[np.ndarray, "n resamples"]) -> Float[np.ndarray, " resamples"]:
    """Area under the faithfulness, over the axis of sizes."""
    empty, full, *values = means
    curve = normalise_means(np.stack(values), empty, full)  # [sizes, resamples]
    return np.asarray(np.trapezoid(curve, np.array(SHARES), axis=0))


def _compute_cmd(means: Float[np.ndarray, "n resamples"]) -> Float[np.ndarray, " resamples"]:
    """Area between the faithfulness and 1, over the axis of sizes."""
    empty, full, *values = means
    curve = np.abs(1 - normalise_means(np.stack(values), empty, full))  # [sizes, resamples]
    return np.asarray(np.trapezoid(curve, np.array(SHARES), axis=0))


def _make_points(
    graph: Graph,
    signed: Masks,
    absolute: Masks,
    values: _MaskValues,
    baselines: Baselines,
    seed: int,
    share: bool,
) -> list[SizePoint]:
    def estimate(sample: Float[np.ndarray, " batch"]) -> Interval:
        samples = _stack_samples(sample[None], baselines)
        return estimate_from_means(compute_faithfulness, samples, seed, share=share)

    of_signed, of_absolute = values.look_up(signed), values.look_up(absolute)
    return [
        SizePoint(
            share=of_all,
            n_edges=count_edges(graph, of_all),
            kept_signed=int(signed[i].sum()),
            kept_absolute=int(absolute[i].sum()),
            signed=estimate(of_signed[i]),
            absolute=estimate(of_absolute[i]),
        )
        for i, of_all in enumerate(SHARES)
    ]
