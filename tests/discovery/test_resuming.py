"""Every search can tell a step that its journal holds from a step of another model's."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from circuitgraph.discovery.acdc import Acdc
from circuitgraph.discovery.base import Search, algorithms, make_algorithm
from circuitgraph.discovery.journal import Journal
from circuitgraph.discovery.loop import run_steps
from circuitgraph.discovery.sweep import Sweep
from circuitgraph.engine.experiment import Experiment
from tests.checkpoints import random_prompts, save_tiny

SHORT: dict[str, dict[str, Any]] = {
    "acdc": {"threshold": 0.01},
    "hybrid": {"threshold": 0.01, "keep": 0.5},
    "edge-pruning": {"steps": 3},
    "subnetwork-probing": {"steps": 3},
    "eap-ig-inputs": {"steps": 2},
    "eap-ig-activations": {"steps": 1},
}
NAMES = [*algorithms.names(), "sweep"]


def make_search(name: str) -> Search[Any]:
    if name == "sweep":
        return Sweep((0.01, 0.1), Acdc())
    return make_algorithm(name, **SHORT.get(name, {}))


@pytest.fixture(scope="module")
def experiments(tmp_path_factory: pytest.TempPathFactory) -> list[Experiment]:
    """Two of one shape, on other prompts."""
    model = save_tiny(tmp_path_factory.mktemp("smallest"), n_layer=1, n_head=2).ours
    return [Experiment(model, random_prompts(batch=n, longest=4)) for n in (2, 3)]


def walk_steps(search: Search[Any], experiment: Experiment) -> list[Any]:
    """All states of a search between which its journal gets entries."""
    states = [search.init_state(experiment)]
    state = states[0]
    while len(set(search.count_progress(state))) == 2:
        before, state = state, search.take_step(experiment, state)
        if search.make_entries(experiment, before, state):
            states.append(state)
    return states


@pytest.mark.parametrize("name", NAMES)
def test_a_step_agrees_with_itself_and_not_with_that_of_other_prompts(
    experiments: list[Experiment], name: str
) -> None:
    ours, theirs = experiments
    search = make_search(name)
    states = walk_steps(search, ours)
    pairs = list(pairwise(states))
    assert [search.check_step(ours, *pair) for pair in pairs] == [None] * len(pairs)
    disagreements = [search.check_step(theirs, *pair) for pair in pairs]
    # Random scores are the same whatever the model does, and the first steps of edge pruning follow
    # the price of edges alone in a model as small as this.
    assert (set(disagreements) == {None}) == (name in ("random", "edge-pruning"))


@pytest.mark.parametrize("name", ["edge-pruning", "subnetwork-probing"])
def test_masks_that_were_not_learned_are_seen(experiments: list[Experiment], name: str) -> None:
    search = make_search(name)
    before, after = walk_steps(search, experiments[0])
    variables = {**after.variables, "log_alpha": after.variables["log_alpha"] + 1}
    problem = search.check_step(experiments[0], before, replace(after, variables=variables))
    assert problem is not None
    assert "after step 3" in problem


@pytest.mark.parametrize("name", NAMES)
def test_a_finished_journal_is_taken_up(
    experiments: list[Experiment], tmp_path: Path, name: str
) -> None:
    search, journal = make_search(name), Journal(tmp_path / "journal.jsonl")
    run_steps(search, experiments[0], journal=journal)
    before = journal.path.read_bytes()
    state, _ = run_steps(search, experiments[0], journal=journal)
    assert len(set(search.count_progress(state))) == 1
    assert journal.path.read_bytes() == before
