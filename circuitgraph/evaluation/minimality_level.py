"""How minimal a circuit is, by name: can an edge go, a pair of edges, any set of edges?

A circuit is minimal up to a tolerance and up to the sets that were tried. That no subset at all can
go takes an evaluation for each of 2^n sets, so that only small circuits can be shown to be so; of
larger ones, pairs are tried. Adolfi et al. (2025), "The computational complexity of circuit
discovery for inner interpretability", say why no search can promise more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from jaxtyping import Bool, Float

from circuitgraph.catalog.judgement_record import MinimalityLevel

MOST_SUBSET_EDGES = 8  # 255 sets
PAIRS_PER_EDGE = 2  # so that pairs take twice as long as single edges

EdgeSet = tuple[int, ...]
# from sets of edges (places in the circuit) to what taking each set out does to the mean metric
MeasureSets = Callable[[list[EdgeSet]], Float[np.ndarray, " sets"]]


@dataclass(frozen=True)
class LevelOfSets:
    """A level, what can go (places of edges in the circuit), and how many pairs were tried."""

    level: MinimalityLevel
    removable: EdgeSet = ()
    n_pairs: int = 0


def find_level(
    effects: Float[np.ndarray, " edges"], tolerance: float, measure_sets: MeasureSets
) -> LevelOfSets:
    """The level of a circuit whose edges have these effects, each taken out alone.

    Args:
        effects: one or more, in the unit of the metric.
        tolerance: what taking out a set must move the mean metric by, for the set to be needed.
        measure_sets: asked about pairs and larger sets, and only if no single edge can go.
    """
    can_go: Bool[np.ndarray, " edges"] = np.abs(effects) < tolerance
    if can_go.any():
        level: MinimalityLevel = "none" if can_go.all() else "some"
        return LevelOfSets(level, tuple(np.flatnonzero(can_go).tolist()))
    if len(effects) <= MOST_SUBSET_EDGES:
        return _try_subsets(len(effects), tolerance, measure_sets)
    pairs = list_likely_pairs(effects)
    gone = _find_removable(pairs, tolerance, measure_sets)
    return LevelOfSets("single" if gone else "pairs", gone or (), len(pairs))


def _try_subsets(n_edges: int, tolerance: float, measure_sets: MeasureSets) -> LevelOfSets:
    sets = list(_iterate_sets(n_edges))
    n_pairs = n_edges * (n_edges - 1) // 2
    gone = _find_removable(sets, tolerance, measure_sets) if sets else None
    if gone is None:
        return LevelOfSets("subsets", (), n_pairs)
    return LevelOfSets("single" if len(gone) == 2 else "pairs", gone, n_pairs)


def _iterate_sets(n_edges: int) -> Iterator[EdgeSet]:
    """All sets of two edges and more, small ones first."""
    for size in range(2, n_edges + 1):
        yield from combinations(range(n_edges), size)


def _find_removable(
    sets: list[EdgeSet], tolerance: float, measure_sets: MeasureSets
) -> EdgeSet | None:
    """The first of these sets that can go."""
    removable = np.flatnonzero(np.abs(measure_sets(sets)) < tolerance)
    return sets[removable[0]] if len(removable) else None


def list_likely_pairs(effects: Float[np.ndarray, " edges"]) -> list[EdgeSet]:
    """The pairs to try, twice as many as edges: those whose single effects add up to least."""
    first, second = np.triu_indices(len(effects), 1)
    order = np.argsort(np.abs(effects[first] + effects[second]), kind="stable")
    chosen = order[: PAIRS_PER_EDGE * len(effects)]
    return list(zip(first[chosen].tolist(), second[chosen].tolist(), strict=True))


def count_set_masks(n_edges: int) -> int:
    """How many sets of edges `find_level` may ask about, beside single edges."""
    if n_edges <= MOST_SUBSET_EDGES:
        return max(0, 2**n_edges - 1 - n_edges)
    return min(PAIRS_PER_EDGE * n_edges, n_edges * (n_edges - 1) // 2)
