"""``--config FILE``: options from TOML, the command line before the file, and files that cannot be
used.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from circuitgraph.catalog.files import load_circuit
from circuitgraph.graph.circuit import Circuit
from circuitgraph.jobs.discover import SearchPlan
from circuitgraph.jobs.workbench import Workbench
from tests.cli.conftest import Ran, files_below

BROKEN = {
    "not TOML": ("threshold = ", ["cannot be read"]),
    "not text": ("\udcff", ["cannot be read"]),
    "unknown option": (
        "treshold = 1\nmodle = 'x'",
        ["Unknown option 'treshold'", "'threshold'", "'modle'", "'model'"],
    ),
    "config in itself": ("config = 'other.toml'", ["Unknown option 'config'"]),
    "a table": ("[threshold]\nvalue = 1", ["threshold = {'value': 1}: expected a number"]),
    "a list": ("limit = [1]", ["limit = [1]: expected a whole number"]),
    "a fraction of a prompt": ("limit = 2.5", ["limit = 2.5: expected a whole number"]),
    "a truth for a number": ("threshold = true", ["threshold = True: expected a number"]),
    "a number for a truth": ("absolute = 1", ["absolute = 1: expected true or false"]),
    "a word for a truth": ("json = 'yes'", ["json = 'yes': expected true or false"]),
    "a number for a name": ("metric = 5", ["metric = 5: expected a text in quotes"]),
    "a number for a folder": ("out = 5", ["out = 5: expected a text in quotes"]),
    "a date": ("seed = 2024-01-01", ["expected a whole number"]),
    "values of the right type that make no sense": ("threshold = nan", ["threshold is nan"]),
    "negative": ("limit = -1", ["--limit is -1"]),
}


@pytest.mark.parametrize("case", BROKEN)
def test_config_that_cannot_be_used(run: Callable[..., Ran], tmp_path: Path, case: str) -> None:
    content, phrases = BROKEN[case]
    (tmp_path / "run.toml").write_bytes(content.encode(errors="surrogateescape"))
    ran = run("discover", "induction", "--config", "run.toml")
    assert (ran.code, ran.out) == (2, "")
    assert [phrase for phrase in phrases if phrase not in ran.err] == [], ran.err
    assert files_below(tmp_path) == {"run.toml"}


def test_config_that_is_not_there(run: Callable[..., Ran]) -> None:
    ran = run("discover", "induction", "--config", "gone.toml")
    assert ran.code == 2
    assert "'gone.toml' cannot be read" in ran.err


FULL = """
task = "induction"
metric = "kl"
threshold = 1
limit = 3
ablation = "zero"
absolute = true
dry-run = true
json = true
"""


def test_every_kind_of_option_is_taken_from_the_file(
    run: Callable[..., Ran], tmp_path: Path
) -> None:
    (tmp_path / "run.toml").write_text(FULL)
    ran = run("discover", "--config", "run.toml")
    assert ran.code == 0, ran.err
    assert json.loads(ran.out)["prompts"] == 3
    assert files_below(tmp_path) == {"run.toml"}


def test_command_line_goes_before_the_file(run: Callable[..., Ran], tmp_path: Path) -> None:
    (tmp_path / "run.toml").write_text(FULL)
    for args in (("--config", "run.toml", "--limit", 5), ("--limit", 5, "--config", "run.toml")):
        assert json.loads(run("discover", *args).out)["prompts"] == 5


def test_settings_of_the_file_reach_the_search(
    run: Callable[..., Ran],
    tmp_path: Path,
    finished: tuple[Path, Ran],
    monkeypatch: pytest.MonkeyPatch,
    canned: None,
) -> None:
    given: dict[str, object] = {}

    def search(bench: Workbench, plan: SearchPlan) -> Circuit:
        given.update(vars(bench.terms) | plan.algorithm.arguments)
        return load_circuit(finished[0])

    monkeypatch.setattr("circuitgraph.jobs.discover.find_circuit", search)
    (tmp_path / "run.toml").write_text(FULL.replace("dry-run = true", 'out = "strict"'))
    ran = run("discover", "--config", "run.toml", "--threshold", "0.5")
    assert ran.code == 0, ran.err
    wanted = {
        "metric": "kl",
        "ablation": "zero",
        "threshold": 0.5,
        "absolute": True,
        "n_prompts": 3,
    }
    assert given.items() >= wanted.items()
    assert (tmp_path / "strict" / "circuit.json").read_text() == ran.out


def test_underscores_do_as_well_as_dashes(run: Callable[..., Ran], tmp_path: Path) -> None:
    (tmp_path / "run.toml").write_text("dry_run = true")
    ran = run("discover", "induction", "--config", "run.toml")
    assert ran.code == 0, ran.err
    assert files_below(tmp_path) == {"run.toml"}


@pytest.mark.parametrize("typed", [("other",), ("--task", "other")])
def test_task_of_the_command_line_replaces_task_and_data_of_the_file(
    run: Callable[..., Ran], tmp_path: Path, typed: tuple[str, ...]
) -> None:
    (tmp_path / "run.toml").write_text(
        'task = "induction"\ndata = "pairs.jsonl"\nmodel = "induction-2l"'
    )
    assert "Unknown task 'other'" in run("discover", "--config", "run.toml", *typed).err


def test_data_of_the_command_line_replaces_the_task_of_the_file(
    run: Callable[..., Ran], tmp_path: Path
) -> None:
    (tmp_path / "run.toml").write_text('task = "induction"\nmodel = "induction-2l"')
    ran = run("discover", "--config", "run.toml", "--data", "mine.jsonl")
    assert "There is no data file 'mine.jsonl'" in ran.err
