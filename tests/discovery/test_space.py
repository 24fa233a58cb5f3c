"""Every search stays inside its search space, or refuses it; the whole space changes nothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from circuitgraph.discovery.acdc import Acdc, order_removals
from circuitgraph.discovery.base import Algorithm, algorithms, make_algorithm
from circuitgraph.discovery.journal import Journal
from circuitgraph.discovery.loop import run_search
from circuitgraph.discovery.random_edges import RandomEdges
from circuitgraph.discovery.scoring import Scoring
from circuitgraph.discovery.sweep import Sweep, run_sweep
from circuitgraph.engine.experiment import Experiment
from circuitgraph.errors import ArgumentError
from circuitgraph.graph.circuit import Circuit
from circuitgraph.graph.reach import find_live_edges
from circuitgraph.graph.space import SearchSpace, make_space
from tests.checkpoints import Tiny, random_prompts, save_tiny
from tests.discovery.test_every_algorithm import SHORT

PROMPTS = random_prompts(batch=2, longest=4)
THRESHOLD = 0.02


@pytest.fixture(scope="module")
def smallest(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    return save_tiny(tmp_path_factory.mktemp("smallest"), n_layer=2, n_head=2)


def ask(tiny: Tiny, **words: Any) -> Experiment:
    return Experiment(tiny.ours, PROMPTS, space=make_space(tiny.ours.graph(), **words))


@pytest.fixture(scope="module")
def whole(smallest: Tiny) -> Experiment:
    return ask(smallest)


@pytest.fixture(scope="module")
def narrow(smallest: Tiny) -> Experiment:
    """Two thirds of the edges, less MLP 0, with one head's output and one edge protected."""
    graph = smallest.ours.graph()
    some = [edge for i, edge in enumerate(graph.edges) if i % 3]
    words = {"without": ["m0"], "protect": ["a1.h0->*", "embed->a1.h1<q>"]}
    return ask(smallest, inside=[*some, "embed->a1.h1<q>"], **words)


def settings_of(name: str) -> list[Algorithm[Any]]:
    """A search by its defaults and, if it selects by score, by every other way to select."""
    search = make_algorithm(name, **SHORT.get(name, {}))
    if not isinstance(search, Scoring):
        return [search]
    ways = [{}, {"selection": "greedy"}, {"n_edges": 9}, {"n_edges": 9, "selection": "greedy"}]
    ways += [{"threshold": 1e-3}, {"share": 0.3}, {"prune": False}]
    return [replace(search, **way) for way in ways]


@pytest.mark.parametrize("name", algorithms.names())
def test_every_search_stays_inside_its_space(narrow: Experiment, name: str) -> None:
    space = narrow.space
    assert space.protected.sum() >= 3
    for search in settings_of(name):
        mask = run_search(search, narrow).mask
        assert not (mask & ~space.allowed).any(), search
        assert mask[space.protected].all(), search
        if isinstance(search, Scoring) and search.n_edges is not None:
            assert mask.sum() <= search.n_edges


@pytest.mark.parametrize("name", algorithms.names())
def test_a_space_of_all_edges_changes_no_bit(smallest: Tiny, whole: Experiment, name: str) -> None:
    search = make_algorithm(name, **SHORT.get(name, {}))
    plain = run_search(search, whole)
    inside = run_search(search, ask(smallest, inside=Circuit.full(whole.graph)))
    assert plain == inside
    np.testing.assert_array_equal(plain.scores, inside.scores)
    np.testing.assert_array_equal(plain.tested, inside.tested)
    assert "space" not in plain.provenance
    assert inside.provenance["space"]["inside"] == list(whole.graph.edges)


def search_one_by_one(experiment: Experiment, space: SearchSpace, absolute: bool) -> np.ndarray:
    """ACDC without batches, guesses or frontier, by one mask at a time."""
    graph, mask = experiment.graph, space.start.copy()
    loss = experiment.losses(mask[None])[0]
    for group in order_removals(graph, "descending"):
        for edge in group:
            if not mask[edge] or space.protected[edge]:
                continue
            without = mask.copy()
            without[edge] = False
            if not find_live_edges(graph, mask)[edge]:
                mask = without
                continue
            after = experiment.losses(without[None])[0]
            effect = after - loss
            if (abs(effect) if absolute else effect) < THRESHOLD:
                mask, loss = without, after
    return mask


@pytest.mark.parametrize("absolute", [True, False])
def test_acdc_decides_in_its_space_as_one_mask_at_a_time_does(
    narrow: Experiment, absolute: bool
) -> None:
    search = Acdc(threshold=THRESHOLD, absolute=absolute)
    circuit = run_search(search, narrow)
    one_by_one = search_one_by_one(narrow, narrow.space, absolute)
    np.testing.assert_array_equal(circuit.mask, one_by_one)
    assert circuit.tested is not None
    assert not (circuit.tested & ~narrow.space.free).any()
    assert 0 < (circuit.mask & narrow.space.free).sum() < narrow.space.free.sum()


def test_a_sweep_finds_the_circuits_of_searches_alone(narrow: Experiment) -> None:
    thresholds = (0.005, 0.02, 0.1)
    for threshold, circuit in zip(
        thresholds, run_sweep(Sweep(thresholds), narrow).circuits, strict=True
    ):
        assert circuit == run_search(Acdc(threshold=threshold), narrow)


@pytest.mark.parametrize("name", ["acdc", "hybrid", "edge-pruning", "subnetwork-probing"])
def test_searches_with_a_beginning_take_a_start(smallest: Tiny, name: str) -> None:
    graph = smallest.ours.graph()
    start = [edge for i, edge in enumerate(graph.edges) if i % 2]
    experiment = ask(smallest, start_from=start)
    circuit = run_search(make_algorithm(name, **SHORT.get(name, {})), experiment)
    if name in ("acdc", "hybrid"):
        assert circuit <= Circuit.of(graph, start)


def test_learned_masks_begin_at_one_half_outside_their_start(smallest: Tiny) -> None:
    graph = smallest.ours.graph()
    experiment = ask(smallest, start_from=graph.edges[::2])
    log_alpha = make_algorithm("edge-pruning").init_state(experiment).variables["log_alpha"]
    np.testing.assert_array_equal(log_alpha == 0, np.arange(graph.n_edges) % 2 == 1)


def test_a_search_that_only_scores_has_no_start(smallest: Tiny) -> None:
    experiment = ask(smallest, start_from=["embed->logits"])
    with pytest.raises(ArgumentError, match=r"'random' scores all edges at once .*: use inside"):
        run_search(RandomEdges(), experiment)


def test_a_search_that_knows_no_space_refuses_it(narrow: Experiment) -> None:
    class Unaware(RandomEdges):
        takes_space = False

    with pytest.raises(ArgumentError, match="takes no search space"):
        run_search(Unaware(), narrow)


@pytest.mark.parametrize("n_edges", [2, 200])
def test_a_size_that_the_space_does_not_have_is_refused(narrow: Experiment, n_edges: int) -> None:
    with pytest.raises(ArgumentError, match=f"n_edges is {n_edges}, but the search space has"):
        run_search(RandomEdges(n_edges=n_edges), narrow)


def test_the_journal_of_another_space_is_refused(
    narrow: Experiment, whole: Experiment, tmp_path: Path
) -> None:
    path, search = tmp_path / "journal.jsonl", Acdc(threshold=THRESHOLD)
    circuit = run_search(search, narrow, journal=Journal(path))
    with pytest.raises(ArgumentError, match="space"):
        run_search(search, whole, journal=Journal(path))
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[: len(lines) // 2]))
    resumed = run_search(search, narrow, journal=Journal(path))
    assert resumed == circuit
    np.testing.assert_array_equal(resumed.scores, circuit.scores)
