"""Faithfulness: how much of the behaviour survives when only the circuit's edges say what they say."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from circuitgraph.catalog.judgement import MetricRecord
from circuitgraph.catalog.records import EvaluationRecord
from circuitgraph.engine.experiment import Experiment
from circuitgraph.errors import check_at_least
from circuitgraph.evaluation.ends import Ends, ask, check_graph, ratio
from circuitgraph.evaluation.intervals import bootstrap, mean_of, spread
from circuitgraph.graph.circuit import Circuit
from circuitgraph.tasks.base import Prompts


def faithfulness(
    experiment: Experiment,
    circuit: Circuit,
    prompts: Prompts,
    *,
    split: str,
    seed: int,
    n_random: int = 20,
    seen: int | None = 0,
    bar: bool = False,
) -> EvaluationRecord:
    """(m(circuit) - m(empty)) / (m(full) - m(empty)) with intervals, beside random circuits of
    equal size.

    m is the mean metric, as MIB defines it (Mueller et al. 2025). The ratio of means is
    bootstrapped over prompts.

    Args:
        experiment: over the prompts to judge on.
        prompts: the same prompts, for the record; ``split`` and ``seed`` say how they were drawn,
            ``seen`` how many of them the search saw.
        n_random: number of random circuits.

    Raises:
        GraphError: the circuit is of another graph than the experiment.
    """
    check_graph(experiment.graph, circuit)
    check_at_least("n_random", n_random, 2)
    rng = np.random.default_rng([seed, n_random])
    rivals = [Circuit.random(circuit.graph, len(circuit), rng).mask for _ in range(n_random)]
    both = [Circuit.full(circuit.graph).mask, Circuit.empty(circuit.graph).mask]
    masks = [*both, circuit.mask, *rivals]
    full, empty, found, *rival_values = ask(
        experiment, masks, len(masks), what="faithfulness", bar=bar
    )
    defined = Ends(full, empty).defined
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
        faithfulness=bootstrap(ratio, [found, empty, full], seed) if defined else None,
        random_faithfulness=spread([ratio(r, empty, full) for r in rival_values])
        if defined
        else None,
        n_random=n_random,
        seen=seen,
    )


def other_metrics(
    experiment: Experiment, circuit: Circuit, names: Sequence[str], *, seed: int
) -> list[MetricRecord]:
    """Other metrics than the experiment's own, for the whole model, the circuit and nothing.

    Raises:
        GraphError: the circuit is of another graph than the experiment.
    """
    check_graph(experiment.graph, circuit)
    graph = circuit.graph
    full, empty, found = (
        experiment.readings(c.mask, names)
        for c in (Circuit.full(graph), Circuit.empty(graph), circuit)
    )
    return [
        MetricRecord(
            metric=name,
            full=mean_of(full[i], seed),
            empty=mean_of(empty[i], seed),
            circuit=mean_of(found[i], seed),
        )
        for i, name in enumerate(names)
    ]
