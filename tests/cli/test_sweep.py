"""``circuitgraph sweep``: the plan, the table, exit statuses, and the options in a file."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import Ran, files_below

STEM = "constructed-count-a/constructed-count-a/random-n_edges-3"
FILE = """
task = ["constructed:count-a"]
algorithm = ["random"]
sizes = [3]
seeds = [0, 1]
limit = 4
judging-limit = 4
out = "mine"
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    (tmp_path / "sweep.toml").write_text(FILE)
    return tmp_path / "sweep.toml"


def test_a_sweep_of_a_file(
    run: Callable[..., Ran], config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = ("sweep", "--config", config)
    plan = json.loads(run(*asked, "--dry-run", "--json").out)
    assert [(cell["entry"], cell["state"]) for cell in plan] == [
        (STEM, "to do"),
        (f"{STEM}-seed-1", "to do"),
    ]
    assert files_below(Path()) == {"sweep.toml"}
    ran = run(*asked)
    assert ran.code == 0, ran.err
    assert [line.split()[0] for line in ran.out.splitlines()[2:]] == [STEM, f"{STEM}-seed-1"]
    listed = json.loads(run("catalog", "list", "--catalog", "mine", "--json").out)
    assert STEM in json.dumps(listed)
    monkeypatch.setattr("circuitgraph.jobs.sweep_grid.run_cell", lambda _: pytest.fail("run again"))
    cells = json.loads(run(*asked, "--json").out)
    assert [cell["entry"] for cell in cells] == [STEM, f"{STEM}-seed-1"]
    assert "done" in run(*asked, "--dry-run").out


def test_a_cell_that_fails_does_not_stop_the_others(run: Callable[..., Ran], config: Path) -> None:
    ran = run("sweep", "--config", config, "--sizes", "3,900")
    assert ran.code == 1
    reason = "constructed-count-a/constructed-count-a/random-n_edges-900: "
    assert f"2 failed:\n  - {reason}" in ran.err
    assert ran.out.count("failed") == 2
    assert len(json.loads(run("catalog", "list", "--catalog", "mine", "--json").out)) == 2
    none = run("sweep", "--config", config, "--sizes", "900")
    assert (none.code, none.out) == (2, "")
    assert f"No cell could be done:\n  - {reason}" in none.err


BAD = {
    "no task": ((), "There are no tasks"),
    "task": (("--task", "inductoin"), "'induction'"),
    "model": (("--task", "induction", "--model", "ioi"), "ioi has not learned 'induction'"),
    "threshold": (("--task", "induction", "--thresholds", "a"), "must be numbers between commas"),
    "seeds": (("--task", "induction", "--seeds", "1.5"), "must be whole numbers between commas"),
    "algorithm": (
        ("--task", "induction", "--algorithm", "edge-pruning", "--thresholds", "1"),
        "edge-pruning: it has no threshold",
    ),
    "workers and scheduler": (
        ("--task", "induction", "--workers", "2", "--scheduler", "tcp://127.0.0.1:1"),
        "Both a scheduler and 2 workers",
    ),
    "address": (("--task", "induction", "--scheduler", "zzz"), "'zzz' is no address"),
    "workers": (("--task", "induction", "--workers", "0"), "the number of workers is 0"),
}


@pytest.mark.usefixtures("no_model")
@pytest.mark.parametrize("case", BAD)
def test_usage_errors_come_first(run: Callable[..., Ran], case: str) -> None:
    args, phrase = BAD[case]
    ran = run("sweep", *args)
    assert (ran.code, ran.out) == (2, "")
    assert phrase in ran.err
    assert files_below(Path()) == set()


def test_ctrl_c_says_how_to_go_on(
    run: Callable[..., Ran], config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(job: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("circuitgraph.jobs.sweep_grid.run_cell", interrupt)
    ran = run("sweep", "--config", "sweep.toml")
    assert ran.code == 130
    assert "kept in 'mine'" in ran.err
    assert "circuitgraph sweep --config sweep.toml" in ran.err


def test_lists_of_a_file_are_lists_of_texts(run: Callable[..., Ran], tmp_path: Path) -> None:
    (tmp_path / "bad.toml").write_text("task = 'induction'\nmodel = [1]\nset = ['a=1']")
    ran = run("sweep", "--config", "bad.toml")
    assert ran.code == 2
    for phrase in (
        "task = 'induction': expected texts in quotes, in a list",
        "model = [1]: expected texts in quotes, in a list",
        "set = ['a=1']: expected a table of settings",
    ):
        assert phrase in ran.err
