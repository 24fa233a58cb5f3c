"""The default size of searches that score: the smallest circuit tried that is faithful."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from circuitgraph.catalog.records import AlgorithmRecord
from circuitgraph.cli.circuit_notes import describe_dropped
from circuitgraph.discovery.base import algorithms, make_algorithm
from circuitgraph.discovery.hisp import Hisp
from circuitgraph.discovery.loop import run_search
from circuitgraph.discovery.random_edges import RandomEdges
from circuitgraph.discovery.scoring import Scoring
from circuitgraph.discovery.sizing import MAX_SIZES, choose_threshold, find_faithful_size
from circuitgraph.engine.experiment import Experiment
from circuitgraph.graph.circuit import Circuit
from circuitgraph.jobs.judge import make_search
from tests.checkpoints import Tiny, random_prompts


class Losses(Experiment):
    """An experiment whose loss is known for every number of kept edges, 0 among them."""

    def __init__(self, of_size: np.ndarray) -> None:
        self.of_size, self.n_asked = of_size, 0
        self.graph = SimpleNamespace(n_edges=len(of_size) - 1)  # pyright: ignore[reportAttributeAccessIssue]

    def losses(self, masks: np.ndarray) -> np.ndarray:
        self.n_asked += len(masks)
        return self.of_size[masks.sum(axis=1).astype(int)]


def find_size(faithfulness: np.ndarray, wanted: float = 0.95) -> tuple[int | None, int]:
    """The size that is chosen, and how many masks that took.

    Args:
        faithfulness: of circuits of 0, 1, 2, ... edges, the last of them the whole model.
    """
    experiment = Losses(3.0 - 2.0 * faithfulness)  # 3 without edges, 1 for the whole model
    n_most = len(faithfulness) - 1
    size = find_faithful_size(experiment, lambda n: np.arange(n_most) < n, n_most, wanted)
    return size, experiment.n_asked


@pytest.mark.parametrize("first", [1, 2, 7, 40, 89, 90])
def test_the_first_faithful_size_of_a_small_graph_is_met_exactly(first: int) -> None:
    """Where faithfulness only rises, three rounds of 16 sizes leave no gap among 90."""
    faithfulness = np.where(np.arange(91) >= first, 0.96, np.arange(91) / 100)
    faithfulness[-1] = 1.0
    size, n_asked = find_size(faithfulness)
    assert size == first
    assert n_asked <= MAX_SIZES


def test_in_a_large_graph_it_is_met_nearly() -> None:
    sizes = np.arange(30_001)
    size, n_asked = find_size(np.where(sizes >= 7_000, 1.0, 0.0))
    assert size is not None
    assert 7_000 <= size <= 7_030
    assert n_asked <= MAX_SIZES


def test_a_circuit_that_does_more_than_the_model_is_not_faithful() -> None:
    faithfulness = np.array([0.0, 0.5, 1.3, 1.3, 1.04, 1.0])
    assert find_size(faithfulness)[0] == 4
    assert find_size(faithfulness, wanted=0.6)[0] == 2


def test_without_a_faithful_size_it_is_the_nearest() -> None:
    experiment = Losses(np.array([3.0, 2.9, 2.0, 2.5, 2.6, 1.0]))
    assert find_faithful_size(experiment, lambda n: np.arange(5) < n, 4, 0.95) == 2


def test_a_model_that_does_no_better_than_nothing_gives_no_size() -> None:
    assert find_size(np.zeros(20) + 0.25)[0] is None


def test_the_default_threshold_is_a_share_of_the_gap() -> None:
    assert choose_threshold(Losses(np.array([3.0, 2.5, 1.0]))) == 0.004
    assert choose_threshold(Losses(np.array([-41.2345, 0.0, 2.0]))) == 0.0865
    assert choose_threshold(Losses(np.zeros(3))) == 0.1


def test_the_record_has_the_threshold_that_was_chosen(experiment: Experiment) -> None:
    chosen = choose_threshold(experiment)
    for name in ("acdc", "hybrid"):
        circuit = run_search(make_algorithm(name), experiment)
        assert circuit.provenance["algorithm"]["arguments"]["threshold"] == chosen
        assert circuit == run_search(make_algorithm(name, threshold=chosen), experiment)


@pytest.fixture(scope="module")
def experiment(tiny: Tiny) -> Experiment:
    return Experiment(tiny.ours, random_prompts(batch=2, longest=5))


def measure_faithfulness_of(experiment: Experiment, circuit: Circuit) -> float:
    n = experiment.graph.n_edges
    masks = np.stack([np.ones(n, bool), np.zeros(n, bool), circuit.mask])
    full, empty, value = experiment.losses(masks)
    return float((empty - value) / (empty - full))


@pytest.mark.parametrize("name", ["exact", "hisp", "random"])
def test_by_default_a_circuit_is_faithful_and_not_all(experiment: Experiment, name: str) -> None:
    search = make_algorithm(name)
    circuit = run_search(search, experiment)
    assert abs(measure_faithfulness_of(experiment, circuit) - 1) <= 0.051
    assert 0 < len(circuit) <= experiment.graph.n_edges
    loose = run_search(make_algorithm(name, faithfulness=0.5), experiment)
    assert len(loose) <= len(circuit)
    assert 0.49 <= measure_faithfulness_of(experiment, loose) <= 1.51


def test_stored_searches_without_a_size_are_those_of_five_percent() -> None:
    """So that measures that repeat a stored search repeat the search that was."""
    old = {"n_edges": None, "threshold": None, "absolute": True, "prune": True}
    for name in algorithms.names():
        if not issubclass(algorithms[name], Scoring):
            continue
        arguments = algorithms[name].complete_arguments(old)
        assert arguments == {**old, "share": 0.05}
        assert make_algorithm(name, **arguments) == make_algorithm(name, share=0.05)
        for size in ({"n_edges": 4}, {"threshold": 0.1}):
            assert algorithms[name].complete_arguments({**old, **size}) == {**old, **size}
        new = make_algorithm(name).arguments
        assert algorithms[name].complete_arguments(new) == new
    assert Hisp.complete_arguments({**old, "n_nodes": 3}) == {**old, "n_nodes": 3}


def test_a_stored_search_is_repeated_as_it_was(tiny: Tiny, experiment: Experiment) -> None:
    prompts = random_prompts(batch=2, longest=5)
    first = run_search(RandomEdges(share=0.05, prune=False), experiment)
    algorithm = dict(first.provenance["algorithm"])
    new_names = ("share", "faithfulness")
    algorithm["arguments"] = {
        name: value for name, value in algorithm["arguments"].items() if name not in new_names
    }
    stored = replace(first, provenance={**first.provenance, "algorithm": algorithm})
    repeat_search = make_search(tiny.ours, stored)
    assert repeat_search is not None
    assert repeat_search(prompts) == first
    assert len(first) == round(0.05 * experiment.graph.n_edges)


def test_the_record_says_how_many_edges_were_selected(experiment: Experiment) -> None:
    circuit = run_search(RandomEdges(n_edges=30), experiment)
    record = AlgorithmRecord.model_validate(circuit.provenance["algorithm"])
    assert record.n_selected == 30 > len(circuit)
    note = describe_dropped(record, len(circuit))
    assert note is not None
    assert f"30 edges were selected; {30 - len(circuit)} of them lie on no path" in note
    assert describe_dropped(record, 30) is None
    unpruned = run_search(RandomEdges(n_edges=30, prune=False), experiment)
    assert len(unpruned) == 30
