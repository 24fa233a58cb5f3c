"""A search once more at multiples of its own threshold or size, with what can be shared shared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from circuitgraph.discovery.acdc import Acdc
from circuitgraph.discovery.base import Algorithm
from circuitgraph.discovery.loop import run_search, run_steps
from circuitgraph.discovery.scoring import Scoring
from circuitgraph.discovery.sweep import Sweep, check_thresholds, run_sweep
from circuitgraph.engine.experiment import Experiment
from circuitgraph.errors import ArgumentError
from circuitgraph.graph.circuit import Circuit

OWN_SIZE = 1.0


def check_factors(algorithm: Algorithm[Any], factors: Sequence[float]) -> None:
    """Refuse multiples that are not positive and rising, or that a search cannot be run at.

    Raises:
        ArgumentError: says which, and what to give instead.
    """
    check_thresholds(factors)
    if factors[0] <= 0:
        raise ArgumentError(
            f"factors begin with {factors[0]}, but multiples of a threshold must be positive."
        )
    can_vary = isinstance(algorithm, Acdc | Scoring)
    if isinstance(algorithm, Acdc) and algorithm.threshold is not None:
        can_vary = algorithm.threshold > 0
    if not can_vary and tuple(factors) != (OWN_SIZE,):
        raise ArgumentError(
            f"factors are {', '.join(f'{f:g}' for f in factors)}, but this search "
            f"({algorithm.name}) has no threshold or size to multiply: give 1 alone."
        )


def find_nearby_circuits(
    algorithm: Algorithm[Any], experiment: Experiment, factors: Sequence[float]
) -> list[Circuit]:
    """The circuits of a search at each of these multiples of its threshold, in their order.

    A search by size has its size divided instead, so that a higher factor always asks for less.
    ACDC shares what its thresholds decide alike; a search that scores first scores once.

    Args:
        factors: as `check_factors` accepts them.

    Raises:
        SearchError: a value is not finite.
    """
    if isinstance(algorithm, Acdc):
        search = algorithm.settle_settings(experiment)
        if len(factors) > 1 or factors[0] != OWN_SIZE:
            thresholds = tuple(search.limit * factor for factor in factors)
            return list(run_sweep(Sweep(thresholds, search), experiment).circuits)
    if not isinstance(algorithm, Scoring):
        return [run_search(algorithm, experiment)]
    state, _ = run_steps(algorithm, experiment)
    own = algorithm.choose_size(experiment, state.scores)
    return [
        _multiply_size(own, experiment, factor).make_circuit(experiment, state)
        for factor in factors
    ]


def _multiply_size(own: Scoring, experiment: Experiment, factor: float) -> Scoring:
    """A search whose size is settled, at a multiple of its threshold or a fraction of its size."""
    name, size = next((n, size) for n, size in own.sizes.items() if size is not None)
    if name == "threshold":
        return replace(own, threshold=size * factor)
    if name == "share":
        return replace(own, share=min(1.0, size / factor))
    protected = experiment.space.n_protected if name == "n_edges" else 0
    most = own.count_choices(experiment) + protected
    changed: dict[str, Any] = {name: min(most, max(1, protected, round(size / factor)))}
    return replace(own, **changed)
