"""Certainty about edges: how often repeated searches keep each, and how alike their circuits are.

The idea of trusting what a search selects again and again under resampling is stability selection
(Meinshausen and Buehlmann 2010); thresholds and metrics are varied beside the prompts because they
are choices of the person who searches, not facts about the model.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Sequence
from functools import cache

import numpy as np
from jaxtyping import Float

from circuitgraph.catalog.certainty_record import (
    EdgeCertainty,
    EdgeKind,
    RepeatedSearchRecord,
)
from circuitgraph.catalog.records import Interval
from circuitgraph.errors import ArgumentError, check_finite
from circuitgraph.evaluation.intervals import estimate_mean, summarise_spread
from circuitgraph.evaluation.stability import measure_overlaps
from circuitgraph.graph.circuit import Circuit

CORE, NOISE = 0.9, 0.1
_AXES = ("metric", "factor", "sample")


def check_cuts(core: float, noise: float) -> None:
    """Refuse cuts that are no shares, or in the wrong order.

    Raises:
        ArgumentError: names both.
    """
    check_finite("core", core)
    check_finite("noise", noise)
    if not 0 <= noise < core <= 1:
        raise ArgumentError(
            f"core is {core} and noise is {noise}, but both must be shares from 0 to 1, noise the "
            "smaller one."
        )


def classify_frequency(frequency: float, core: float, noise: float) -> EdgeKind:
    """``core`` from that cut on, ``noise`` up to that cut, ``contingent`` between."""
    if frequency >= core:
        return "core"
    return "noise" if frequency <= noise else "contingent"


def rate_edges(
    searches: Sequence[RepeatedSearchRecord],
    circuits: Sequence[Circuit],
    stored: Circuit,
    *,
    core: float,
    noise: float,
    seed: int,
) -> list[EdgeCertainty]:
    """The frequency and the kind of each edge that is stored or was kept, most frequent first.

    The interval is over samples of the prompts: a sample's value is the share of its searches, at
    all thresholds and by all metrics, that kept the edge.

    Args:
        searches: what each of the circuits was found by; every sample has as many.
    """
    kept = np.stack([circuit.mask for circuit in circuits])  # [searches, edges]
    samples = np.array([search.sample for search in searches])
    shares = np.stack([kept[samples == each].mean(axis=0) for each in np.unique(samples)])

    @cache  # most edges are kept by all searches or by few, and share their shares
    def estimate_share(values: tuple[float, ...]) -> Interval:
        return estimate_mean(np.array(values), seed, share=True)

    edges = []
    for number in np.flatnonzero(kept.any(axis=0) | stored.mask):
        frequency = estimate_share(tuple(shares[:, number].tolist()))
        edges.append(
            EdgeCertainty(
                edge=stored.graph.edges[number],
                kind=classify_frequency(frequency.mean, core, noise),
                frequency=frequency,
                in_circuit=bool(stored.mask[number]),
                runs="".join("1" if one else "0" for one in kept[:, number]),
            )
        )
    return sorted(edges, key=lambda each: -each.frequency.mean)


def compare_along(
    axis: str, searches: Sequence[RepeatedSearchRecord], circuits: Sequence[Circuit]
) -> Interval | None:
    """Mean Jaccard overlap of pairs of circuits whose searches differ in this alone.

    Args:
        axis: ``metric``, ``factor`` or ``sample``.

    Returns:
        None if no two searches differ in it.
    """
    alike: dict[Hashable, list[Circuit]] = defaultdict(list)
    for search, circuit in zip(searches, circuits, strict=True):
        alike[tuple(getattr(search, name) for name in _AXES if name != axis)].append(circuit)
    overlaps = [value for group in alike.values() for value in measure_overlaps(group)]
    return summarise_spread(overlaps) if overlaps else None


def estimate_chance(circuits: Sequence[Circuit]) -> float:
    """How often an edge would be in random circuits of these sizes."""
    sizes: Float[np.ndarray, " circuits"] = np.array([circuit.mask.mean() for circuit in circuits])
    return float(sizes.mean())
