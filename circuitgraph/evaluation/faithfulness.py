"""Faithfulness: how much of the behaviour a circuit keeps when every other edge is ablated."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from circuitgraph.catalog.judgement_record import MetricRecord
from circuitgraph.catalog.records import EvaluationRecord
from circuitgraph.engine.experiment import Experiment
from circuitgraph.errors import check_at_least
from circuitgraph.evaluation.baselines import (
    Baselines,
    check_graph,
    compute_faithfulness,
    evaluate_masks,
    normalise_samples,
)
from circuitgraph.evaluation.intervals import (
    estimate_from_means,
    estimate_mean,
    summarise_spread,
)
from circuitgraph.graph.circuit import Circuit
from circuitgraph.tasks.metrics import metrics
from circuitgraph.tasks.prompts import Prompts


def measure_faithfulness(
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
    """(m(circuit) - m(empty)) / (m(full) - m(empty)), beside random circuits of equal size.

    m is the mean metric, as MIB defines it (Mueller et al. 2025). The ratio of means is
    bootstrapped over prompts. The circuit is judged as it stands: edges on no path from the
    embedding to the logits stay, which under mean and zero ablation changes its value
    (`Circuit.pruned`).

    Args:
        experiment: the experiment over the prompts to judge on.
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
    full, empty, of_circuit, *of_rivals = evaluate_masks(
        experiment, masks, len(masks), what="faithfulness", bar=bar
    )
    faithfulness = random_faithfulness = None
    share = experiment.metric.is_share
    if Baselines(full, empty).differ:
        faithfulness = estimate_from_means(
            compute_faithfulness, np.stack([empty, full, of_circuit]), seed, share=share
        )
        random_faithfulness = summarise_spread(
            [normalise_samples(of_rival, empty, full) for of_rival in of_rivals]
        )
    return EvaluationRecord(
        metric=experiment.metric.name,
        ablation=experiment.ablation.name,
        split=split,
        seed=seed,
        n_prompts=len(prompts),
        prompts_sha256=prompts.fingerprint,
        full=estimate_mean(full, seed, share=share),
        empty=estimate_mean(empty, seed, share=share),
        circuit=estimate_mean(of_circuit, seed, share=share),
        faithfulness=faithfulness,
        random_faithfulness=random_faithfulness,
        n_random=n_random,
        seen=seen,
    )


def measure_other_metrics(
    experiment: Experiment, circuit: Circuit, names: Sequence[str], *, seed: int
) -> list[MetricRecord]:
    """Other metrics than the experiment's own, of the whole model, the circuit and no edge.

    Raises:
        GraphError: the circuit is of another graph than the experiment.
    """
    check_graph(experiment.graph, circuit)
    graph = circuit.graph
    # One row for each metric: [names, batch].
    full, empty, of_circuit = (
        experiment.metric_values(c.mask, names)
        for c in (Circuit.full(graph), Circuit.empty(graph), circuit)
    )
    return [
        MetricRecord(
            metric=name,
            full=estimate_mean(full[i], seed, share=metrics[name].is_share),
            empty=estimate_mean(empty[i], seed, share=metrics[name].is_share),
            circuit=estimate_mean(of_circuit[i], seed, share=metrics[name].is_share),
        )
        for i, name in enumerate(names)
    ]


def count_seen(prompts: Prompts, searched: Prompts) -> int:
    """How many of the clean prompts, as tokens, are among the prompts that a search saw."""
    searched_tokens = set(_list_tokens(searched))
    return sum(tokens in searched_tokens for tokens in _list_tokens(prompts))


def _list_tokens(prompts: Prompts) -> list[tuple[int, ...]]:
    """The tokens of each clean prompt, without padding."""
    return [
        tuple(row[real].tolist()) for row, real in zip(prompts.clean, prompts.mask, strict=True)
    ]
