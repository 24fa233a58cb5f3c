"""Settings of algorithms on the command line: options, ``--set``, and what cannot be set."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from circuitgraph.catalog.files import load_circuit
from circuitgraph.cli.settings import gather_settings
from circuitgraph.discovery.base import algorithms, make_algorithm
from circuitgraph.errors import ArgumentError
from circuitgraph.jobs.discover import SearchPlan
from circuitgraph.jobs.workbench import Workbench
from tests.cli.conftest import Ran, files_below

GOOD: dict[str, tuple[tuple[str, ...], dict[str, Any]]] = {
    "nothing": ((), {}),
    "options": (
        ("--threshold", "0.5", "--heads", "ascending"),
        {"threshold": 0.5, "heads": "ascending"},
    ),
    "flags": (("--absolute", "--direct"), {"absolute": True, "direct": True}),
    "no flag": (("--signed",), {"absolute": False}),
    "set": (
        ("--set", "threshold=0.5", "--set", "absolute = true"),
        {"threshold": 0.5, "absolute": True},
    ),
    "a bare word": (("--set", "heads=ascending"), {"heads": "ascending"}),
    "a word in quotes": (("--set", 'heads="ascending"'), {"heads": "ascending"}),
    "others": (
        ("--algorithm", "random", "--n-edges", "5", "--selection", "top", "--set", "prune=false"),
        {"algorithm": "random", "n_edges": 5, "selection": "top", "prune": False},
    ),
}


@pytest.mark.parametrize("case", GOOD)
def test_settings_reach_the_search(
    run: Callable[..., Ran],
    finished: tuple[Path, Ran],
    monkeypatch: pytest.MonkeyPatch,
    canned: None,
    case: str,
) -> None:
    args, wanted = GOOD[case]
    given: list[SearchPlan] = []

    def search(_: Workbench, plan: SearchPlan) -> object:
        given.append(plan)
        return load_circuit(finished[0])

    monkeypatch.setattr("circuitgraph.jobs.discover.find_circuit", search)
    ran = run("discover", "induction", *args, "--quiet")
    assert ran == Ran(0, "", "")
    name = wanted.get("algorithm", "acdc")
    settings = {key: value for key, value in wanted.items() if key != "algorithm"}
    assert [plan.algorithm for plan in given] == [make_algorithm(name, **settings)]
    assert given[0].space == {}


BAD: dict[str, tuple[tuple[str, ...], list[str]]] = {
    "unknown": (("--set", "treshold=1"), ["setting of algorithm 'acdc' 'treshold'", "'threshold'"]),
    "of another algorithm": (("--n-edges", "5"), ["Unknown setting of algorithm 'acdc' 'n_edges'"]),
    "no value": (("--set", "threshold"), ["--set 'threshold' cannot be read", "NAME=VALUE"]),
    "an empty value": (("--set", "threshold="), ["NAME=VALUE"]),
    "no name": (("--set", "=1"), ["NAME=VALUE"]),
    "not a name": (("--set", "a b=1"), ["'a b' is not the name of a setting"]),
    "two lines": (("--set", "threshold=1\nheads=2"), ["cannot be read"]),
    "not a value": (("--set", "heads=[1"), ["'[1' is no number"]),
    "wrong type": (("--set", "threshold=high"), ["threshold is 'high', but must be a number"]),
    "a truth for a number": (
        ("--set", "threshold=true"),
        ["threshold is True, but must be a number"],
    ),
    "a number for a truth": (("--set", "absolute=1"), ["absolute is 1, but must be true or false"]),
    "twice": (("--threshold", "1", "--set", "threshold=2"), ["'threshold' was given twice"]),
    "no sense": (("--set", "threshold=nan"), ["threshold is nan"]),
    "unknown to the task": (
        ("--task-set", "max_word=9"),
        ["argument of task 'induction' 'max_word'", "'max_words'"],
    ),
    "a task's without value": (
        ("--task-set", "max_words"),
        ["--task-set 'max_words' cannot be read"],
    ),
}


@pytest.mark.usefixtures("no_model")
@pytest.mark.parametrize("case", BAD)
def test_settings_that_cannot_be_used(run: Callable[..., Ran], case: str) -> None:
    args, phrases = BAD[case]
    ran = run("discover", "induction", *args)
    assert (ran.code, ran.out) == (2, "")
    assert [phrase for phrase in phrases if phrase not in ran.err] == [], ran.err
    assert files_below(Path()) == set()


@pytest.mark.usefixtures("no_model")
def test_a_pair_that_does_not_work_is_refused_before_a_model_is_loaded(
    run: Callable[..., Ran], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: object, metric: Any, ablation: Any) -> None:
        raise ArgumentError(f"not with {metric.name} and {ablation.name}")

    monkeypatch.setattr(algorithms["acdc"], "check_metric", refuse)
    assert "not with logit_difference and resample" in run("discover", "induction").err
    assert (
        "not with kl and zero"
        in run("discover", "induction", "--metric", "kl", "--ablation", "zero").err
    )


def test_a_table_of_the_config_file_is_a_list_of_settings(
    run: Callable[..., Ran], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[dict[str, Any]] = []

    def note(name: str, **settings: Any) -> Any:
        seen.append(settings)
        return make_algorithm(name, **settings)

    monkeypatch.setattr("circuitgraph.discovery.base.make_algorithm", note)
    (tmp_path / "run.toml").write_text(
        'dry-run = true\nlimit = 6\n[set]\nthreshold = 0.5\nheads = "ascending"\nabsolute = true\n'
    )
    ran = run("discover", "induction", "--config", "run.toml", "--quiet")
    assert ran == Ran(0, "", "")
    assert seen[0] == {"threshold": 0.5, "heads": "ascending", "absolute": True}
    (tmp_path / "run.toml").write_text("dry-run = true\nlimit = 6\nthresholds = [0.1, 0.5]\n")
    ran = run("discover", "induction", "--config", "run.toml", "--json")
    assert json.loads(ran.out)["evaluations_at_most"] == 2 * 257


def test_the_list_of_algorithms_has_their_settings(run: Callable[..., Ran]) -> None:
    rows = {row["name"]: row for row in json.loads(run("list", "algorithms", "--json").out)}
    assert rows["acdc"]["settings"] == make_algorithm("acdc").arguments
    assert all(row["score"] for row in rows.values())
    assert 'heads="descending"' in run("list", "algorithms").out


def test_settings_of_the_task_reach_it(run: Callable[..., Ran], tmp_path: Path) -> None:
    given = ("--task-set", "min_words=4", "--task-set", "max_words=5")
    assert (
        json.loads(run("discover", "induction", *given, "--dry-run", "--json").out)[
            "longest_prompt_tokens"
        ]
        == 5
    )
    (tmp_path / "run.toml").write_text("dry-run = true\n[task-set]\nmin_words = 4\nmax_words = 6\n")
    ran = run("discover", "induction", "--config", "run.toml", "--json")
    assert json.loads(ran.out)["longest_prompt_tokens"] == 6


def test_a_file_of_pairs_has_no_settings(run: Callable[..., Ran], tmp_path: Path) -> None:
    (tmp_path / "pairs.jsonl").write_text("{}")
    ran = run("discover", "--data", "pairs.jsonl", "--model", "induction-2l", "--task-set", "n=1")
    assert ran.code == 2
    assert "A file of pairs has no settings" in ran.err


def test_the_list_of_tasks_has_their_settings(run: Callable[..., Ran]) -> None:
    rows = {row["name"]: row for row in json.loads(run("list", "tasks", "--json").out)}
    assert rows["induction"]["settings"] == {"min_words": 8, "max_words": 16}
    assert rows["induction"]["model"] == "induction-2l"


def test_names_of_nodes_are_words() -> None:
    assert gather_settings({}, ["nodes=a5.h1", "at=S2"]) == {"nodes": "a5.h1", "at": "S2"}


def test_names_of_heads_and_roles_are_words() -> None:
    assignments = ["head=a5.h1", "at=S1+1", "read=first-mlp", "top=3"]
    read = {"head": "a5.h1", "at": "S1+1", "read": "first-mlp", "top": 3}
    assert gather_settings({}, assignments) == read
    with pytest.raises(ArgumentError, match="is no number, truth value"):
        gather_settings({}, ["head=a5 h1"])
