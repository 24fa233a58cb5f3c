"""Stability: how alike circuits of bootstrap samples of the prompts are (Meloux et al. 2025)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from itertools import combinations

import numpy as np

from circuitgraph.catalog.judgement_record import StabilityRecord
from circuitgraph.errors import check_at_least
from circuitgraph.evaluation.intervals import summarise_spread
from circuitgraph.graph.circuit import Circuit
from circuitgraph.progress import show_progress
from circuitgraph.tasks.prompts import Prompts


def measure_stability(
    discover: Callable[[Prompts], Circuit],
    prompts: Prompts,
    *,
    seed: int,
    n: int = 5,
    bar: bool = False,
) -> StabilityRecord:
    """The mean Jaccard overlap of circuits discovered on bootstrap samples of the prompts.

    A sample has as many prompts, drawn with replacement, in arrays of the same shapes, so that
    nothing is compiled anew. Two empty circuits overlap fully.

    Args:
        discover: the whole search; equal prompts must give equal circuits.
        prompts: the prompts of the discovery.
        n: number of discoveries.
        bar: show progress over the discoveries.
    """
    check_at_least("the number of discoveries", n, 2)
    rng = np.random.default_rng([check_at_least("seed", seed, 0), n])
    circuits = []
    with show_progress(n, "stability", "circuit", bar=bar) as progress:
        for _ in range(n):
            circuits.append(discover(resample_prompts(prompts, rng)))
            progress.advance()
    times = np.sum([circuit.mask for circuit in circuits], axis=0)  # [edges]
    names = circuits[0].graph.edges
    return StabilityRecord(
        n_discoveries=n,
        seed=seed,
        overlap=summarise_spread(measure_overlaps(circuits)),
        n_edges=[len(circuit) for circuit in circuits],
        frequency={names[i]: float(times[i]) / n for i in np.flatnonzero(times)},
    )


def measure_overlaps(circuits: Sequence[Circuit]) -> list[float]:
    """The Jaccard overlap of every pair: edges in both over edges in either.

    Raises:
        GraphError: circuits of different graphs.
    """
    pairs = combinations(circuits, 2)
    return [len(a & b) / len(a | b) if len(a | b) else 1.0 for a, b in pairs]


def resample_prompts(prompts: Prompts, rng: np.random.Generator) -> Prompts:
    """As many of the prompts, drawn with replacement."""
    rows = rng.integers(len(prompts), size=len(prompts))
    arrays = {field.name: getattr(prompts, field.name) for field in fields(prompts)}
    sampled = {name: array[rows] for name, array in arrays.items() if isinstance(array, np.ndarray)}
    return replace(prompts, pairs=tuple(prompts.pairs[i] for i in rows), **sampled)
