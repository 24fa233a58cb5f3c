"""Each search that scores first against its published definition, on the oracle's explicit caches
or by hand.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

import numpy as np
import pytest
import torch

from circuitgraph.discovery.base import algorithms, make_algorithm
from circuitgraph.discovery.exact import Exact
from circuitgraph.discovery.hisp import Hisp
from circuitgraph.discovery.loop import run_search
from circuitgraph.engine.experiment import Experiment
from circuitgraph.errors import ArgumentError, DataError, SearchError
from circuitgraph.graph.circuit import Circuit
from circuitgraph.graph.graph import Graph
from tests import oracle
from tests.checkpoints import Tiny, oracle_run, random_prompts
from tests.laws.agreement import loss_of
from tests.oracle import eap, losses

PROMPTS = random_prompts(batch=3, longest=6)


@dataclass
class Case:
    experiment: Experiment
    run: oracle.OracleRun
    loss: losses.Loss


@pytest.fixture(scope="module")
def case(tiny: Tiny) -> Case:
    run = oracle_run(tiny, PROMPTS, "resample", double=True)
    return Case(Experiment(tiny.ours, PROMPTS), run, loss_of("logit_difference", PROMPTS, run))


def explicit(case: Case, name: str) -> dict[str, float]:
    run, loss = case.run, case.loss
    if name == "exact":
        everything = set(case.experiment.graph.edges)
        full = loss(run.run(everything)).mean().item()
        return {
            edge: loss(run.run(everything - {edge})).mean().item() - full for edge in everything
        }
    return {
        "eap": lambda: eap.explicit_eap(run, loss),
        "eap-ig-inputs": lambda: eap.explicit_eap_ig_inputs(run, loss, 4),
        "clean-corrupted": lambda: eap.explicit_clean_corrupted(run, loss),
        "eap-ig-activations": lambda: eap.explicit_eap_ig_activations(run, loss, 2),
        "information-flow": lambda: eap.explicit_information_flow(run),
    }[name]()


SETTINGS = {
    "eap": {},
    "eap-ig-inputs": {"steps": 4},
    "clean-corrupted": {},
    "eap-ig-activations": {"steps": 2},
}
SETTINGS |= {"information-flow": {}, "exact": {}}


@pytest.mark.parametrize("name", SETTINGS)
def test_scores_are_those_of_the_oracle(case: Case, name: str) -> None:
    found = run_search(make_algorithm(name, n_edges=30, **SETTINGS[name]), case.experiment)
    theirs = explicit(case, name)
    expected = np.array([theirs[edge] for edge in case.experiment.graph.edges])
    assert np.abs(expected).max() > 1e-2
    assert found.scores is not None
    np.testing.assert_allclose(found.scores, expected, atol=1e-5 * max(1.0, np.abs(expected).max()))
    assert algorithms[name].score == found.provenance["algorithm"]["score"]


def test_shares_of_information_flow_add_up_to_one_at_each_reader(case: Case) -> None:
    found = run_search(make_algorithm("information-flow"), case.experiment)
    assert found.scores is not None
    graph = case.experiment.graph
    sums = np.bincount(graph.ends[0], found.scores)
    np.testing.assert_allclose(sums, np.ones(len(graph.readers)), atol=1e-5)
    assert found.scores.min() >= 0


# HISP


def test_an_edge_is_as_important_as_its_less_important_node(case: Case) -> None:
    found = run_search(Hisp(n_nodes=3), case.experiment)
    importance = eap.explicit_importances(case.run, case.loss)
    importance |= dict.fromkeys(("embed", "logits"), max(importance.values()))
    expected = []
    for edge in case.experiment.graph.edges:
        writer, reader = edge.split("->")
        expected.append(min(importance[writer], importance[reader.partition("<")[0]]))
    assert found.scores is not None
    np.testing.assert_allclose(found.scores, expected, atol=1e-5 * max(expected))


@pytest.mark.parametrize("n", [0, 1, 4, 15])
def test_the_circuit_is_all_edges_among_the_best_nodes(case: Case, n: int) -> None:
    importance = eap.explicit_importances(case.run, case.loss)
    kept = {*sorted(importance, key=lambda node: -importance[node])[:n], "embed", "logits"}
    expected = [
        edge
        for edge in case.experiment.graph.edges
        if {edge.split("->")[0], edge.split("->")[1].partition("<")[0]} <= kept
    ]
    assert run_search(Hisp(n_nodes=n), case.experiment).edges == expected
    as_threshold = min((importance[node] for node in kept if node in importance), default=None)
    if as_threshold is not None:
        assert (
            run_search(Hisp(threshold=as_threshold * (1 - 1e-4)), case.experiment).edges == expected
        )


def test_by_default_as_many_nodes_as_have_a_twentieth_of_the_edges() -> None:
    graph = Graph(3, 4)
    rng = np.random.default_rng(0)
    importance = np.concatenate([[9.0], rng.random(len(graph.writers) - 1)])
    of_reader = [importance[list(r.feeds)].max() if r.feeds else 9.0 for r in graph.readers]
    scores = np.minimum(np.array(of_reader)[graph.ends[0]], importance[graph.ends[1]])
    circuit = Hisp().select_circuit(graph, scores)
    sizes = [len(Hisp(n_nodes=n).select_circuit(graph, scores)) for n in range(len(graph.writers))]
    assert len(circuit) == max(size for size in sizes if size <= 0.05 * graph.n_edges)
    assert len(circuit) > 1


def test_more_nodes_than_there_are_are_refused(case: Case) -> None:
    with pytest.raises(
        ArgumentError, match="n_nodes is 16, but the graph has only 15 heads and MLPs"
    ):
        run_search(Hisp(n_nodes=16), case.experiment)
    with pytest.raises(ArgumentError, match="n_nodes=2 and n_edges=3"):
        Hisp(n_nodes=2, n_edges=3)


# Exact patching


def test_an_exact_search_is_taken_up_reader_by_reader(case: Case) -> None:
    algorithm, experiment, journal = Exact(), case.experiment, []
    start = state = algorithm.init_state(experiment)
    for _ in range(15):
        after = algorithm.take_step(experiment, state)
        journal += algorithm.make_entries(experiment, state, after)
        state = after
    journal = json.loads(json.dumps(journal))
    assert journal[0] == {"edge": experiment.graph.edges[0], "effect": state.scores[0]}
    for cut, done in ((len(journal), 15), (len(journal) - 1, 14), (0, 0)):
        resumed = algorithm.resume_state(experiment, start, journal[:cut])
        assert resumed.done == done
        ended = experiment.graph.ends[0] < done
        np.testing.assert_array_equal(resumed.scores, np.where(ended, state.scores, 0.0))
    for entry in (
        {"edge": "embed->a0.h0<q>"},
        {"edge": "embed->a9.h0<q>", "effect": 1.0},
        {"parts": 1, "scores": ""},
    ):
        with pytest.raises(DataError, match="journal's entry"):
            algorithm.resume_state(experiment, start, [entry])


def test_a_value_that_is_not_finite_names_the_edge(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = case.experiment._masked._run_launch

    def broken(masks: np.ndarray, chunk: object) -> np.ndarray:
        values = honest(masks, chunk).copy()  # pyright: ignore[reportArgumentType]
        values[~masks.all(axis=1), 1] = np.nan
        return values

    monkeypatch.setattr(case.experiment._masked, "_run_launch", broken)
    with pytest.raises(
        SearchError, match=f"Removing {case.experiment.graph.edges[0]}: .* of prompt 2 is nan"
    ):
        run_search(Exact(), case.experiment)


# Random


def test_random_scores_depend_on_the_seed_alone(case: Case) -> None:
    one, same, other = (
        run_search(make_algorithm("random", seed=seed), case.experiment) for seed in (0, 0, 1)
    )
    assert one.scores is not None
    assert same.scores is not None
    assert other.scores is not None
    np.testing.assert_array_equal(one.scores, same.scores)
    assert not np.array_equal(one.scores, other.scores)
    unpruned = run_search(make_algorithm("random", n_edges=40, prune=False), case.experiment)
    assert len(unpruned) == 40
    assert unpruned == Circuit.top(case.experiment.graph, np.random.default_rng(0).random(262), 40)


def test_the_loss_of_the_oracle_is_ours(case: Case) -> None:
    """Else agreement above would be of two wrong losses."""
    full = np.ones((1, case.experiment.graph.n_edges), bool)
    theirs = case.loss(case.run.at_scored(case.run.clean_logits)).mean().item()
    assert case.experiment.losses(full)[0] == pytest.approx(theirs, abs=1e-5)
    assert torch.isfinite(case.run.clean_logits).all()
