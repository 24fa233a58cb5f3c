"""Forecasts: steps are timed by a clock that goes as the test says, and later steps cost more."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from circuitgraph.discovery import acdc_forecast
from circuitgraph.discovery.acdc import Acdc
from circuitgraph.discovery.acdc_forecast import jump_to, predict_rest, sample_steps
from circuitgraph.discovery.acdc_state import AcdcState
from circuitgraph.discovery.base import make_algorithm
from circuitgraph.discovery.forecast import forecast_seconds
from circuitgraph.discovery.loop import run_search
from circuitgraph.engine.experiment import Experiment
from circuitgraph.jobs.setup import Terms
from circuitgraph.jobs.workbench import Workbench
from circuitgraph.models.language_model import LanguageModel
from circuitgraph.tasks.loading import load_task

ACDC = Acdc(threshold=0.1)


@pytest.fixture(scope="module")
def experiment(shipped: LanguageModel) -> Experiment:
    task = load_task("induction", shipped, seed=0)
    return Workbench(shipped, task, Terms(n_prompts=8)).prepare()[0]


def list_states(experiment: Experiment) -> list[AcdcState]:
    """All states of a search."""
    states = [ACDC.init_state(experiment)]
    while ACDC.count_progress(states[-1])[0] < ACDC.count_progress(states[-1])[1]:
        states.append(ACDC.take_step(experiment, states[-1]))
    return states


@pytest.fixture(scope="module")
def states(experiment: Experiment) -> list[AcdcState]:
    return list_states(experiment)


def test_the_rest_is_that_of_the_search_if_its_circuit_is_predicted(
    experiment: Experiment, states: list[AcdcState]
) -> None:
    begin, end = states[2], states[-1]
    rest = predict_rest(experiment, begin, end.mask)
    assert np.array_equal(rest.mask, end.mask)
    tested = np.zeros(experiment.graph.n_edges, bool)
    tested[rest.left[rest.tested]] = True
    assert np.array_equal(tested, end.tested & ~begin.tested)
    for state in states[2:]:  # each is where so many more decisions lead
        n = ACDC.count_progress(state)[0] - ACDC.count_progress(begin)[0]
        there = jump_to(begin, rest, n)
        place = (there.group, there.n_decided)
        same = [(state.group, state.n_decided)]
        if state.n_decided == 0 and state.group:
            same.append((state.group - 1, len(state.order[state.group - 1])))
        assert place in same
        assert np.array_equal(there.mask[rest.left[:n]], state.mask[rest.left[:n]])


def test_edges_that_lead_nowhere_are_neither_kept_nor_tested(
    experiment: Experiment, states: list[AcdcState]
) -> None:
    graph, begin = experiment.graph, states[0]
    nothing = predict_rest(experiment, begin, np.zeros(graph.n_edges, bool))
    assert not nothing.mask.any()
    into_logits = graph.ends[0] == len(graph.readers) - 1
    assert np.array_equal(np.sort(nothing.left[nothing.tested]), np.flatnonzero(into_logits))
    lonely = np.zeros(graph.n_edges, bool)
    lonely[graph.edge_index("embed->a0.h3<v>")] = True
    assert not predict_rest(experiment, begin, lonely).mask.any()


@pytest.fixture
def counted(
    shipped: LanguageModel, experiment: Experiment, monkeypatch: pytest.MonkeyPatch
) -> Experiment:
    """The experiment, which counts as if it had the frontier: edges differ in operations then."""
    prompts = load_task("induction", shipped, seed=0).prompts(8)
    with_frontier = Experiment(shipped, prompts, frontier=True)
    monkeypatch.setattr(experiment, "count_operations", with_frontier.count_operations)
    return experiment


def list_true_operations(experiment: Experiment, states: list[AcdcState]) -> list[tuple[int, int]]:
    """Of each step of a search: edges tested, and the operations of each."""
    steps = []
    for before, after in pairwise(states):
        edges = before.order[before.group]
        new = edges[(after.tested & ~before.tested)[edges]]
        if len(new):
            reader = int(experiment.graph.ends[0][new[0]])
            steps.append((len(new), experiment.count_operations(before.mask, reader)))
    return steps


def test_operations_of_the_rest_are_those_of_the_search(
    counted: Experiment, states: list[AcdcState]
) -> None:
    """With the circuit known, each edge's operations are as they are when it is tested."""
    rest = predict_rest(counted, states[1], states[-1].mask)
    told = acdc_forecast.count_operations(counted, states[1], rest)
    true = list_true_operations(counted, states[1:])
    assert len(told) == sum(n for n, _ in true)
    assert np.array_equal(told, np.repeat(*np.array(true)[:, ::-1].T))
    assert len(set(told.tolist())) > 3  # they grow with the circuit


def test_costlier_steps_are_counted_as_the_circuit_grows(
    counted: Experiment, states: list[AcdcState]
) -> None:
    """Each edge takes 2 seconds, and 1 for each million operations: as a fake clock says."""

    def time_call(call: Callable[..., Any], *given: Any) -> tuple[Any, float]:
        result = call(*given)
        steps = list_true_operations(counted, [given[-1], result])
        return result, sum(n * (2 + each / 1e6) for n, each in steps)

    begin, end = states[1], states[-1]
    scores = np.where(end.mask, 1.0, 0.0)
    outlook = sample_steps(ACDC, counted, begin, scores, time_call)
    true = sum(n * (2 + each / 1e6) for n, each in list_true_operations(counted, states[1:]))
    low, likely, high = outlook.seconds
    assert outlook.n_kept == end.mask.sum()
    np.testing.assert_allclose(likely, true, rtol=0.01)
    assert low <= likely <= high


def test_a_search_that_ends_within_the_sample_is_told_as_it_was(experiment: Experiment) -> None:
    told = forecast_seconds(ACDC, experiment)
    assert told.n_kept == len(run_search(ACDC, experiment))
    assert told.low == told.likely == told.high
    assert 0 < told.sampled <= told.likely


@pytest.mark.parametrize(
    ("name", "settings", "metric"),
    [
        ("acdc", {"threshold": 0.1}, "logit_difference"),
        ("acdc", {"threshold": 0.1, "direct": True}, "kl"),
        ("acdc", {"threshold": 0.1}, "accuracy"),
        ("hybrid", {"threshold": 0.1}, "logit_difference"),
        ("exact", {"n_edges": 3}, "logit_difference"),
    ],
)
def test_every_search_has_a_forecast(
    shipped: LanguageModel, name: str, settings: dict[str, Any], metric: str
) -> None:
    task = load_task("induction", shipped, seed=0)
    algorithm = make_algorithm(name, **settings)
    bench = Workbench(shipped, task, Terms(n_prompts=4, metric=metric))
    experiment, _ = bench.prepare(direct=algorithm.direct)
    told = forecast_seconds(algorithm, experiment, beginning=0.0)
    assert 0 <= told.low <= told.likely <= told.high < np.inf


def test_the_beginning_says_what_attribution_misjudges(
    experiment: Experiment, states: list[AcdcState]
) -> None:
    end = states[-1]
    n_kept = int((end.tested & end.mask).sum())
    strengths = np.where(end.tested, np.linspace(0.05, 0.2, len(end.mask)), 9.0)
    limit = acdc_forecast._choose_limit(ACDC, end, strengths)
    assert n_kept >= 5
    assert int((strengths[end.tested] >= limit).sum()) == n_kept
