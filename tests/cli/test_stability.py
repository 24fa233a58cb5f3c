"""``circuitgraph stability``: what it writes, shows and refuses."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import circuitgraph.jobs.certainty
from circuitgraph.graph.circuit import Circuit
from tests.cli.conftest import Ran, files_below

QUICK = ("--samples", 2, "--factors", "1,2", "--metrics", "kl")


@pytest.fixture
def own(tmp_path: Path, finished: tuple[Path, Ran], monkeypatch: pytest.MonkeyPatch) -> Path:
    """A circuit that may be written to; searches keep all edges at 1, and none at 2."""

    def search_once(algorithm: Any, experiment: Any, factors: Any) -> list[Circuit]:
        del algorithm
        graph = experiment.graph
        return [Circuit.full(graph) if f == 1 else Circuit.empty(graph) for f in factors]

    monkeypatch.setattr(circuitgraph.jobs.certainty, "find_nearby_circuits", search_once)
    return shutil.copytree(finished[0], tmp_path / "own")


def test_the_record_lies_beside_the_circuit_and_is_what_json_prints(
    run: Callable[..., Ran], own: Path
) -> None:
    before = files_below(own)
    ran = run("stability", own, *QUICK, "--json")
    assert ran.code == 0
    assert json.loads(ran.out) == json.loads((own / "certainty.json").read_text())
    assert {edge["kind"] for edge in json.loads(ran.out)["edges"]} == {"contingent"}
    assert files_below(own) - before == {"certainty.json"}, "the journal is gone"
    again = run("stability", own, *QUICK)
    assert again.code == 2
    assert "certainty.json' is there already. Add --anew" in again.err
    assert run("stability", own, *QUICK, "--anew", "--quiet") == Ran(0, "", "")
    drawn = run("render", own, "--certainty", "--out", "new.dot")
    assert (drawn.code, drawn.out) == (0, "new.dot\n")
    assert "in 50% of searches, contingent" in (own.parent / "new.dot").read_text()


def test_tables_fit_into_80_columns(
    run: Callable[..., Ran], own: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    shown = run("stability", own, *QUICK).out
    assert "of the circuit" in shown
    assert "a0.h" in shown
    assert max(map(len, shown.splitlines())) <= 80


def test_a_stopped_command_says_how_to_go_on(
    run: Callable[..., Ran], own: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    search_once, calls = circuitgraph.jobs.certainty.find_nearby_circuits, 0

    def stop_second(*arguments: Any) -> list[Circuit]:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise KeyboardInterrupt
        return search_once(*arguments)

    monkeypatch.setattr(circuitgraph.jobs.certainty, "find_nearby_circuits", stop_second)
    stopped = run("stability", own, *QUICK)
    assert stopped.code == 130
    assert "To go on, give the same command again" in stopped.err
    assert not (own / "certainty.json").exists()
    going_on = run("stability", own, *QUICK)
    assert going_on.code == 0
    assert "Going on with" in going_on.err
    assert calls == 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--factors", "2,1"), "1.0, comes after 2.0"),
        (("--factors", "x"), "--factors is 'x'"),
        (("--core", "0.1", "--noise", "0.2"), "core is 0.1 and noise is 0.2"),
        (("--metrics", "zzz"), "zzz"),
        (("--samples", "1"), "must be at least 2"),
    ],
)
def test_refusals(
    run: Callable[..., Ran], own: Path, options: tuple[str, ...], message: str
) -> None:
    ran = run("stability", own, *options)
    assert ran.code == 2
    assert message in ran.err
    assert not (own / "certainty.json").exists()
