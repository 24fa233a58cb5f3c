"""Faithfulness: 1 for the whole model, 0 for nothing, undefined where the two do not differ."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy import stats

import circuitgraph as cg
from circuitgraph.engine.experiment import Experiment
from circuitgraph.errors import ArgumentError, GraphError
from circuitgraph.evaluation.faithfulness import measure_faithfulness, measure_other_metrics
from circuitgraph.evaluation.intervals import estimate_proportion
from circuitgraph.graph.circuit import Circuit
from circuitgraph.graph.graph import Graph
from circuitgraph.models.language_model import LanguageModel
from circuitgraph.tasks.loading import load_task
from tests.checkpoints import Tiny, random_prompts

PROMPTS = random_prompts(batch=5)


@pytest.fixture(scope="module")
def experiment(tiny: Tiny) -> Experiment:
    return Experiment(tiny.ours, PROMPTS)


def judge(experiment: Experiment, circuit: Circuit, **options: Any) -> Any:
    return measure_faithfulness(experiment, circuit, PROMPTS, split="evaluation", seed=0, **options)


def test_the_whole_model_is_faithful_and_nothing_is_not(experiment: Experiment) -> None:
    full, empty = (
        judge(experiment, end(experiment.graph)) for end in (Circuit.full, Circuit.empty)
    )
    for found, value in (
        (full.faithfulness, 1.0),
        (full.random_faithfulness, 1.0),
        (empty.faithfulness, 0.0),
    ):
        assert (found.mean, found.low, found.high) == pytest.approx((value, value, value), abs=1e-5)
    assert (full.circuit, empty.circuit) == (full.full, empty.empty)


def test_values_are_those_of_the_experiment(experiment: Experiment) -> None:
    circuit = Circuit.random(experiment.graph, 200, np.random.default_rng(0))
    ends = [Circuit.full(experiment.graph).mask, Circuit.empty(experiment.graph).mask, circuit.mask]
    full, empty, part = experiment.values(np.stack(ends)).astype(np.float64).mean(axis=1)
    found = judge(experiment, circuit)
    assert (found.full.mean, found.empty.mean, found.circuit.mean) == pytest.approx(
        (full, empty, part)
    )
    assert found.faithfulness.mean == pytest.approx((part - empty) / (full - empty))
    assert found.faithfulness.low <= found.faithfulness.mean <= found.faithfulness.high
    assert (found.n_prompts, found.n_random, found.prompts_sha256) == (5, 20, PROMPTS.fingerprint)


@pytest.mark.parametrize(("successes", "n"), [(0, 1), (0, 20), (7, 20), (20, 20), (199, 200)])
def test_wilsons_interval_is_that_of_scipy(successes: int, n: int) -> None:
    theirs = stats.binomtest(successes, n).proportion_ci(0.95, method="wilson")
    ours = estimate_proportion(successes, n)
    assert (ours.low, ours.high) == (theirs.low, theirs.high)


def test_accuracy_has_wilsons_interval(shipped: LanguageModel) -> None:
    task = load_task("induction", shipped)
    prompts = task.prompts(20, "evaluation")
    full = Circuit.full(shipped.graph())
    experiment = Experiment(shipped, prompts)
    (accuracy,) = measure_other_metrics(experiment, full, ["accuracy"], seed=0)
    assert accuracy.full == estimate_proportion(20, 20)
    assert accuracy.full.low == pytest.approx(0.839, abs=5e-4)
    by_accuracy = Experiment(shipped, prompts, metric="accuracy")
    found = measure_faithfulness(by_accuracy, full, prompts, split="evaluation", seed=0)
    assert found.full == accuracy.full
    assert found.faithfulness is not None
    assert found.faithfulness.low < found.faithfulness.mean == 1 < found.faithfulness.high


def test_random_circuits_are_of_the_same_size(experiment: Experiment) -> None:
    nearly_all = Circuit.full(experiment.graph).without(["embed->a0.h0<q>"])
    few = Circuit.of(experiment.graph, ["embed->a0.h0<q>"])
    assert judge(experiment, nearly_all).random_faithfulness.mean == pytest.approx(1.0, abs=0.3)
    assert judge(experiment, few).random_faithfulness.mean == pytest.approx(0.0, abs=0.3)


def test_undefined_where_the_whole_model_does_no_better_than_nothing(tiny: Tiny) -> None:
    same = replace(PROMPTS, corrupted=PROMPTS.clean)
    circuit = Circuit.random(tiny.ours.graph(), 100, np.random.default_rng(0))
    found = measure_faithfulness(
        Experiment(tiny.ours, same), circuit, same, split="evaluation", seed=0
    )
    assert found.faithfulness is None
    assert found.random_faithfulness is None
    assert found.full.mean == pytest.approx(found.empty.mean, rel=1e-4)


def test_circuit_of_another_graph(experiment: Experiment) -> None:
    with pytest.raises(GraphError, match=r"n_layers=1.*n_layers=3"):
        judge(experiment, Circuit.full(Graph(1, 1)))


def test_one_random_circuit_has_no_spread(experiment: Experiment) -> None:
    with pytest.raises(ArgumentError, match="n_random is 1"):
        judge(experiment, Circuit.full(experiment.graph), n_random=1)


def test_induction_circuit_is_faithful_where_its_parts_are_not(shipped: LanguageModel) -> None:
    graph, task = shipped.graph(), load_task("induction", shipped)
    path = [
        "embed->a0.h3<v>",
        "a0.h3->a1.h6<k>",
        "embed->a1.h6<q>",
        "embed->a1.h6<v>",
        "a1.h6->logits",
    ]
    whole, broken = (
        cg.evaluate(shipped, task, Circuit.of(graph, edges), n_prompts=16)
        for edges in (path, path[1:])
    )
    assert whole.faithfulness is not None
    assert broken.faithfulness is not None
    assert whole.faithfulness.low > 0.9
    assert broken.faithfulness.high < 0.7
    assert whole.random_faithfulness is not None
    assert whole.random_faithfulness.high < 0.2
