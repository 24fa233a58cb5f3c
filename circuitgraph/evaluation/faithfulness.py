"""Faithfulness: how much of the behaviour survives when only the circuit's edges say what they say."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from circuitgraph.catalog.records import EvaluationRecord, Interval
from circuitgraph.engine.experiment import Experiment
from circuitgraph.errors import GraphError, check_at_least
from circuitgraph.evaluation.intervals import bootstrap, mean_of
from circuitgraph.graph.circuit import Circuit
from circuitgraph.tasks.base import Prompts

_NOISE = 1e-6


def faithfulness(
    experiment: Experiment, circuit: Circuit, prompts: Prompts, *, split: str, seed: int, n_random: int = 20
) -> EvaluationRecord:
    """(m(circuit) - m(empty)) / (m(full) - m(empty)) with intervals, beside random circuits of equal size.

    m is the mean metric, as MIB defines it (Mueller et al. 2025). The ratio of means is
    bootstrapped over prompts.

    Args:
        experiment: over the prompts to judge on.
        prompts: the same prompts, for the record; ``split`` and ``seed`` say how they were drawn.
        n_random: number of random circuits.

    Raises:
        GraphError: the circuit is of another graph than the experiment.
    """
    if circuit.graph != experiment.graph:
        raise GraphError(f"The circuit is of {circuit.graph}, but the model has {experiment.graph}.")
    check_at_least("n_random", n_random, 2)
    rng = np.random.default_rng([seed, n_random])
    rivals = [Circuit.random(circuit.graph, len(circuit), rng).mask for _ in range(n_random)]
    ends = [Circuit.full(circuit.graph).mask, Circuit.empty(circuit.graph).mask]
    full, empty, found, *rival_values = experiment.values(np.stack([*ends, circuit.mask, *rivals]))
    defined = abs(full.mean() - empty.mean()) > _NOISE * max(1.0, abs(full.mean()))
    return EvaluationRecord(
        metric=experiment.metric.name,
        ablation=experiment.ablation.name,
        split=split,
        seed=seed,
        n_prompts=len(prompts),
        prompts_sha256=prompts.fingerprint,
        full=mean_of(full, seed),
        empty=mean_of(empty, seed),
        circuit=mean_of(found, seed),
        faithfulness=bootstrap(_ratio, [found, empty, full], seed) if defined else None,
        random_faithfulness=_spread([_ratio(r, empty, full) for r in rival_values]) if defined else None,
        n_random=n_random,
    )


def _ratio(circuit: np.ndarray, empty: np.ndarray, full: np.ndarray, axis: int = -1) -> np.ndarray | np.floating:
    """The ratio of means; a resample without any difference between the ends counts as NaN, not as an error."""
    base = empty.mean(axis=axis, dtype=np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        return (circuit.mean(axis=axis, dtype=np.float64) - base) / (full.mean(axis=axis, dtype=np.float64) - base)


def _spread(values: Sequence[np.ndarray | np.floating]) -> Interval:
    low, high = np.quantile(values, [0.025, 0.975])
    return Interval(mean=float(np.mean(values)), low=float(low), high=float(high))
