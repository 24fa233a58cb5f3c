"""Faithfulness over the size of a circuit, and MIB's two areas of it (Mueller et al. 2025)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from circuitgraph.catalog.judgement import SizeCurveRecord, SizePoint
from circuitgraph.engine.experiment import Experiment
from circuitgraph.errors import check_at_least
from circuitgraph.evaluation.ends import Ends, ask, ratio, share
from circuitgraph.evaluation.intervals import of_means, spread
from circuitgraph.graph.circuit import Circuit
from circuitgraph.graph.graph import Graph

SHARES = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
STEP = (
    1.1  # from one size to the next in the search for the smallest circuit that is faithful enough
)

Masks = Bool[np.ndarray, "n edges"]
Table = Float[np.ndarray, "n batch"]


@dataclass(frozen=True)
class _Asked:
    """Values of masks, each of which was asked about once."""

    rows: dict[bytes, np.ndarray]

    @classmethod
    def of(cls, experiment: Experiment, masks: Sequence[Masks], bar: bool) -> _Asked:
        different = {mask.tobytes(): mask for group in masks for mask in group}
        values = ask(experiment, different.values(), len(different), what="size curve", bar=bar)
        return cls(dict(zip(different, values, strict=True)))

    def __call__(self, masks: Masks) -> Table:
        return np.stack([self.rows[mask.tobytes()] for mask in masks])


def size_curve(
    experiment: Experiment,
    scores: Float[np.ndarray, " edges"],
    *,
    seed: int,
    n_random: int = 5,
    bar: bool = False,
) -> SizeCurveRecord:
    """Faithfulness of the strongest 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50 and 100 % of edges, with CPR
    and CMD.

    Numbers of edges are rounded down, so that in a small graph the smallest circuits are empty.
    What lies on no path is pruned; the place on the axis stays the nominal one.

    Args:
        experiment: over prompts that the search did not see.
        scores: positive where an edge is of use, such as `Scoring` gives and `ranking` makes.
        n_random: number of random rankings beside it.

    Raises:
        ArgumentError: scores that are NaN.
        GraphError: not one score for each of the graph's edges.
    """
    check_at_least("n_random", n_random, 2)
    graph, ends = experiment.graph, Ends.of(experiment)
    signed, absolute = (
        _strongest(graph, scores, absolute=False),
        _strongest(graph, scores, absolute=True),
    )
    if not ends.defined:
        nothing = {
            "cpr": None,
            "cmd": None,
            "random_cpr": None,
            "random_cmd": None,
            "size_95": None,
        }
        return SizeCurveRecord(points=[], n_random=n_random, **nothing)
    rng = np.random.default_rng([seed, n_random])
    rivals = [_strongest(graph, rng.random(graph.n_edges), absolute=True) for _ in range(n_random)]
    value = _Asked.of(experiment, [signed, absolute, *rivals], bar)
    random = [_mean(_samples(value(rival), ends)) for rival in rivals]
    return SizeCurveRecord(
        points=_points(graph, signed, absolute, value, ends, seed),
        cpr=of_means(_cpr, _samples(value(signed), ends), seed),
        cmd=of_means(_cmd, _samples(value(absolute), ends), seed),
        random_cpr=spread([_cpr(means)[0] for means in random]),
        random_cmd=spread([_cmd(means)[0] for means in random]),
        n_random=n_random,
        size_95=size_reaching(experiment, scores, 0.95),
    )


def size_reaching(
    experiment: Experiment, scores: Float[np.ndarray, " edges"], faithfulness: float
) -> int | None:
    """How many edges the smallest circuit has whose faithfulness is at least this.

    Tried are the strongest n edges by the size of their scores, less those on no path, for n = 1,
    2, ... and from 20 on in steps of a tenth up to the whole graph; the first that reaches it
    counts, whatever larger ones do. None where none does, or whole model and nothing do not differ.
    """
    graph, ends = experiment.graph, Ends.of(experiment)
    if not ends.defined:
        return None
    sizes, together = _sizes(graph.n_edges), 8
    for i in range(0, len(sizes), together):
        masks = np.stack(
            [Circuit.top(graph, scores, n).pruned().mask for n in sizes[i : i + together]]
        )
        reached = ratio(experiment.values(masks), ends.empty, ends.full) >= faithfulness
        if reached.any():
            return int(masks[int(np.argmax(reached))].sum())
    return None


def _sizes(n_edges: int) -> list[int]:
    found = [1]
    while found[-1] < n_edges:
        found.append(min(n_edges, max(found[-1] + 1, int(found[-1] * STEP))))
    return found


def n_masks(n_random: int = 5) -> int:
    """How many masks `size_curve` asks about, that for the size at 0.95 left out."""
    return 2 + len(SHARES) * (2 + n_random)


def n_at(graph: Graph, share: float) -> int:
    """How many edges a share of them is, rounded down as MIB does."""
    return int(share * graph.n_edges)


def _strongest(graph: Graph, scores: Float[np.ndarray, " edges"], *, absolute: bool) -> Masks:
    """The circuits at all shares."""
    return np.stack(
        [
            Circuit.top(graph, scores, n_at(graph, s), absolute=absolute).pruned().mask
            for s in SHARES
        ]
    )


def _samples(values: Table, ends: Ends) -> Float[np.ndarray, "all batch"]:
    return np.stack([ends.empty, ends.full, *values])


def _mean(samples: Table) -> Float[np.ndarray, "n 1"]:
    return samples.mean(axis=1, keepdims=True, dtype=np.float64)


def _one(means: Float[np.ndarray, "3 resamples"]) -> Float[np.ndarray, " resamples"]:
    empty, full, value = means
    return np.asarray(share(value, empty, full))


def _cpr(means: Float[np.ndarray, "n resamples"]) -> Float[np.ndarray, " resamples"]:
    empty, full, *values = means
    return np.asarray(np.trapezoid(share(np.stack(values), empty, full), np.array(SHARES), axis=0))


def _cmd(means: Float[np.ndarray, "n resamples"]) -> Float[np.ndarray, " resamples"]:
    empty, full, *values = means
    return np.asarray(
        np.trapezoid(np.abs(1 - share(np.stack(values), empty, full)), np.array(SHARES), axis=0)
    )


def _points(
    graph: Graph, signed: Masks, absolute: Masks, value: _Asked, ends: Ends, seed: int
) -> list[SizePoint]:
    tables = zip(SHARES, signed, absolute, value(signed), value(absolute), strict=True)
    return [
        SizePoint(
            share=share,
            n_edges=n_at(graph, share),
            kept_signed=int(one.sum()),
            kept_absolute=int(two.sum()),
            signed=of_means(_one, _samples(of_one[None], ends), seed),
            absolute=of_means(_one, _samples(of_two[None], ends), seed),
        )
        for share, one, two, of_one, of_two in tables
    ]
