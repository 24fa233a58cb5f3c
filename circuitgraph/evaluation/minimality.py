"""Minimality: a circuit should hold no edge that it can do without."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from jaxtyping import Bool, Float

from circuitgraph.catalog.judgement import EdgeEffect, MinimalityRecord
from circuitgraph.engine.experiment import Experiment
from circuitgraph.evaluation.ends import Ends, ask, check_graph, share
from circuitgraph.evaluation.intervals import of_means, resampled
from circuitgraph.graph.circuit import Circuit

_NOISE = 1e-5  # effects below this share of what lies between the ends are rounding of float32
_TOGETHER = 4096  # edges whose resamples are alive at once


def minimality(
    experiment: Experiment, circuit: Circuit, *, seed: int, bar: bool = False
) -> MinimalityRecord:
    """(m(C) - m(C - e)) / (m(full) - m(empty)) for every edge e of the circuit C, each taken out
    alone.

    Two edges that can stand in for each other are both unneeded by this measure, although one of
    them is not.

    Args:
        experiment: over prompts that the search did not see.

    Raises:
        GraphError: the circuit is of another graph than the experiment.
    """
    check_graph(experiment.graph, circuit)
    ends, kept = Ends.of(experiment), np.flatnonzero(circuit.mask)
    if not len(kept) or not ends.defined:
        return MinimalityRecord(least=None, n_edges=len(kept), unneeded=[])
    whole, *rest = ask(experiment, _masks(circuit), len(kept) + 1, what="minimality", bar=bar)
    lost = whole[None] - np.stack(rest)  # of each edge and prompt
    least = int(np.argmin(np.abs(lost.mean(axis=1, dtype=np.float64))))
    effect = of_means(_effect, np.stack([whole, rest[least], ends.empty, ends.full]), seed)
    return MinimalityRecord(
        least=EdgeEffect(edge=circuit.graph.edges[kept[least]], effect=effect),
        n_edges=len(kept),
        unneeded=[
            circuit.graph.edges[kept[i]] for i in np.flatnonzero(_unneeded(lost, ends, seed))
        ],
    )


def n_masks(circuit: Circuit) -> int:
    """How many masks `minimality` asks about."""
    return len(circuit) + 3


def _masks(circuit: Circuit) -> Iterator[Bool[np.ndarray, " edges"]]:
    """The circuit, and then without each of its edges."""
    yield circuit.mask
    for edge in np.flatnonzero(circuit.mask):
        mask = circuit.mask.copy()
        mask[edge] = False
        yield mask


def _effect(means: Float[np.ndarray, "n resamples"]) -> Float[np.ndarray, " resamples"]:
    whole, rest, empty, full = means
    return np.asarray(share(whole, empty, full) - share(rest, empty, full))


def _unneeded(lost: Float[np.ndarray, "n batch"], ends: Ends, seed: int) -> Bool[np.ndarray, " n"]:
    """Of which edges the interval holds 0, give or take rounding."""
    scale = abs(float(ends.full.mean(dtype=np.float64) - ends.empty.mean(dtype=np.float64)))
    bounds = [
        np.quantile(resampled(part, seed), [0.025, 0.975], axis=1) / scale
        for part in np.split(lost, range(_TOGETHER, len(lost), _TOGETHER))
    ]
    low, high = np.concatenate(bounds, axis=1)
    return (low <= _NOISE) & (high >= -_NOISE)
