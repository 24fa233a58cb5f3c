"""What all searches share that score first: sizes, selection, pruning, journal, refusals."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest

from circuitgraph.discovery.base import make_algorithm
from circuitgraph.discovery.loop import run_search
from circuitgraph.discovery.random_edges import RandomEdges
from circuitgraph.discovery.scoring import Scoring, ScoringState
from circuitgraph.engine.ablation import ablations
from circuitgraph.engine.experiment import Experiment
from circuitgraph.errors import ArgumentError, DataError, SearchError, UnknownNameError
from circuitgraph.graph.circuit import Circuit
from circuitgraph.graph.graph import Graph
from circuitgraph.graph.selection import select_greedy, select_greedy_above
from circuitgraph.tasks.metrics import metrics
from tests.checkpoints import Tiny, random_prompts

SCORING = [
    "clean-corrupted",
    "eap",
    "eap-ig-activations",
    "eap-ig-inputs",
    "exact",
    "hisp",
    "information-flow",
]
SCORING += ["random", "relp", "gim"]
BY_GRADIENT = ["clean-corrupted", "eap", "eap-ig-activations", "eap-ig-inputs", "hisp", "relp"]
BY_GRADIENT += ["gim"]
AT_THE_WHOLE_MODEL = ["eap", "hisp", "relp", "gim"]


@dataclass(frozen=True)
class Given(Scoring):
    """Scores in three parts, known beforehand."""

    name = "given"
    value: float = 1.0

    def count_parts(self, graph: Graph) -> int:
        return 3

    def score_part(self, experiment: Experiment, i: int) -> np.ndarray:
        scores = np.random.default_rng(i).normal(size=experiment.graph.n_edges)
        scores[7] *= self.value
        return scores

    def count_evaluations(self, graph: Graph) -> int:
        return 0


@pytest.fixture(scope="module")
def experiment(tiny: Tiny) -> Experiment:
    return Experiment(tiny.ours, random_prompts(batch=2, longest=5))


def summed(experiment: Experiment) -> np.ndarray:
    return sum(
        (Given().score_part(experiment, i) for i in range(3)), np.zeros(experiment.graph.n_edges)
    )


def test_scores_are_the_sum_of_the_parts(experiment: Experiment) -> None:
    circuit = run_search(Given(), experiment)
    np.testing.assert_array_equal(circuit.scores, summed(experiment))
    assert circuit.tested is not None
    assert circuit.tested.all()
    assert circuit.provenance["algorithm"]["n_tested"] == experiment.graph.n_edges
    assert circuit.provenance["algorithm"]["arguments"]["n_edges"] is None


@pytest.mark.parametrize("absolute", [True, False])
def test_each_way_of_selecting(experiment: Experiment, absolute: bool) -> None:
    graph, scores = experiment.graph, summed(experiment)
    expected = {
        Given(n_edges=20): Circuit.top(graph, scores, 20, absolute=absolute),
        Given(threshold=1.5): Circuit.above(graph, scores, 1.5, absolute=absolute),
        Given(n_edges=20, selection="greedy"): select_greedy(graph, scores, 20, absolute=absolute),
        Given(threshold=1.5, selection="greedy"): select_greedy_above(
            graph, scores, 1.5, absolute=absolute
        ),
        Given(share=0.05): Circuit.top(graph, scores, 13, absolute=absolute),  # of 262
    }
    for algorithm, circuit in expected.items():
        assert run_search(replace(algorithm, absolute=absolute, prune=False), experiment) == circuit
        assert run_search(replace(algorithm, absolute=absolute), experiment) == circuit.pruned()
    assert len(set(map(len, expected.values()))) > 2


def test_a_circuit_of_any_size_can_be_asked_for(experiment: Experiment) -> None:
    n = experiment.graph.n_edges
    assert len(run_search(RandomEdges(n_edges=0), experiment)) == 0
    assert len(run_search(RandomEdges(n_edges=n), experiment)) == n
    with pytest.raises(ArgumentError, match=f"is {n + 1}, but the graph has {n} edges"):
        run_search(RandomEdges(n_edges=n + 1), experiment)


@pytest.mark.parametrize("n_done", [0, 1, 2, 3])
def test_a_resumed_search_is_the_same_bit_for_bit(experiment: Experiment, n_done: int) -> None:
    algorithm, journal = Given(), []
    start = state = algorithm.init_state(experiment)
    for _ in range(n_done):
        after = algorithm.take_step(experiment, state)
        journal += algorithm.make_entries(experiment, state, after)
        state = after
    resumed = algorithm.resume_state(experiment, start, json.loads(json.dumps(journal)))
    assert (resumed.done, resumed.total) == (n_done, 3) == (state.done, state.total)
    np.testing.assert_array_equal(resumed.scores, state.scores)
    assert start.done == 0
    assert not start.scores.any()


@pytest.mark.parametrize(
    "entry",
    [
        {"edge": "embed->logits", "effect": 1.0},
        {"parts": 1, "scores": "not base64!"},
        {"parts": 1, "scores": "AAAAAAAAAAA="},
        {"parts": None, "scores": ""},
    ],
)
def test_entries_of_another_search_are_refused(
    experiment: Experiment, entry: dict[str, Any]
) -> None:
    with pytest.raises(DataError, match="journal"):
        Given().resume_state(experiment, Given().init_state(experiment), [entry])


def test_more_parts_than_there_are_are_refused(experiment: Experiment) -> None:
    algorithm, start = Given(), Given().init_state(experiment)
    entry = algorithm.make_entries(experiment, start, ScoringState(4, 4, start.scores))
    with pytest.raises(DataError, match="4 parts of 3"):
        algorithm.resume_state(experiment, start, entry)


def test_scores_at_the_boundary_are_close_calls(experiment: Experiment) -> None:
    graph, scores = experiment.graph, summed(experiment)
    order = np.argsort(-np.abs(scores))
    state = ScoringState(3, 3, scores)
    assert Given(n_edges=10).find_close_calls(experiment, state) == []
    near = scores.copy()
    near[order[10]] = near[order[9]] * (1 - 1e-7)
    both = {graph.edges[i] for i in order[9:11]}
    assert set(Given(n_edges=10).find_close_calls(experiment, replace(state, scores=near))) == both
    assert (
        set(
            Given(threshold=float(abs(near[order[9]]))).find_close_calls(
                experiment, replace(state, scores=near)
            )
        )
        == both
    )
    assert (
        Given(n_edges=10, selection="greedy").find_close_calls(
            experiment, replace(state, scores=near)
        )
        == []
    )
    assert Given(n_edges=0).find_close_calls(experiment, replace(state, scores=near)) == []


def test_a_score_that_is_not_finite_stops_the_search_and_names_the_edge(
    experiment: Experiment,
) -> None:
    with pytest.raises(SearchError, match=f"score of {experiment.graph.edges[7]} is -?inf"):
        run_search(Given(value=np.inf), experiment)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"n_edges": -1}, ["n_edges", "-1", "at least 0"]),
        ({"threshold": float("nan")}, ["threshold", "nan", "finite"]),
        ({"threshold": -0.1}, ["threshold", "-0.1", "absolute=False"]),
        ({"n_edges": 3, "threshold": 0.1}, ["n_edges=3 and threshold=0.1", "give one"]),
        ({"n_edges": 3, "share": 0.1}, ["n_edges=3 and share=0.1", "give one"]),
        ({"faithfulness": 1.5}, ["faithfulness is 1.5", "at most 1"]),
        ({"share": 0.0}, ["share is 0.0", "above 0"]),
        ({"selection": "gready"}, ["gready", "Did you mean 'greedy'"]),
    ],
)
@pytest.mark.parametrize("name", SCORING)
def test_settings_that_make_no_sense_are_refused(
    name: str, settings: dict[str, Any], words: list[str]
) -> None:
    with pytest.raises((ArgumentError, UnknownNameError)) as error:
        make_algorithm(name, **settings)
    for word in words:
        assert word in str(error.value)


def test_a_negative_threshold_makes_sense_for_signed_scores(experiment: Experiment) -> None:
    assert (
        len(run_search(Given(threshold=-100.0, absolute=False), experiment))
        == experiment.graph.n_edges
    )


@pytest.mark.parametrize(
    ("name", "setting", "value"),
    [
        ("eap-ig-inputs", "steps", 0),
        ("eap-ig-activations", "steps", 0),
        ("random", "seed", -1),
        ("hisp", "n_nodes", -1),
    ],
)
def test_settings_of_single_algorithms_are_checked(name: str, setting: str, value: int) -> None:
    with pytest.raises(ArgumentError, match=f"{setting} is {value}"):
        make_algorithm(name, **{setting: value})


@pytest.mark.parametrize("name", SCORING)
@pytest.mark.parametrize("metric", metrics.names())
def test_metrics_that_say_nothing_to_a_gradient_are_refused_by_name(name: str, metric: str) -> None:
    algorithm, ablation = make_algorithm(name), ablations["resample"]
    jumps, flat = not metrics[metric].differentiable, metrics[metric].flat_at_full
    assert (jumps, flat) == (metric in ("accuracy", "rank", "reciprocal_rank"), metric == "kl")
    if not ((jumps and name in BY_GRADIENT) or (flat and name in AT_THE_WHOLE_MODEL)):
        algorithm.check_metric(metrics[metric], ablation)
        return
    with pytest.raises(ArgumentError) as error:
        algorithm.check_metric(metrics[metric], ablation)
    for word in (f"{name!r}", f"{metric!r}", "jumps" if jumps else "whole model", "Use "):
        assert word in str(error.value)


def test_the_gradients_that_are_refused_are_zero(tiny: Tiny) -> None:
    """So that nothing is refused without need."""
    prompts = random_prompts(batch=2, longest=5)
    assert (
        np.abs(
            Experiment(tiny.ours, prompts, metric="kl").attribution.at_interpolated_embedding(1.0)
        ).max()
        < 1e-6
    )
    assert (
        not Experiment(tiny.ours, prompts, metric="reciprocal_rank")
        .attribution.at_interpolated_embedding(0.0)
        .any()
    )
