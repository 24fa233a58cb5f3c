"""Ctrl-C: one line that says what is saved and how to go on."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from circuitgraph.cli.interrupts import repeat_command
from tests.cli.conftest import Ran

pytestmark = pytest.mark.usefixtures("own_cache")


@pytest.mark.skipif(
    signal.getsignal(signal.SIGINT) is signal.SIG_IGN,
    reason="tests in the background of a shell, and what they start, ignore Ctrl-C",
)
def test_a_search_that_is_interrupted_says_the_command_that_ends_it(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "circuitgraph", "discover", "induction", "--limit", "400"]
    journal = tmp_path / "runs" / "induction.journal.jsonl"
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as process:
        while process.poll() is None and not (
            journal.exists() and journal.read_bytes().count(b"\n") > 1
        ):
            time.sleep(0.005)
        process.send_signal(signal.SIGINT)
        said = process.communicate(timeout=120)[1].splitlines()
    assert process.returncode == 130
    start = "Stopped. What was decided so far is kept in 'runs/induction.journal.jsonl'. To go on: "
    assert said[-1].startswith(start), said
    again = said[-1].removeprefix(start)
    assert again == (
        "python -m circuitgraph discover induction --limit 400 --resume --out runs/induction"
    )
    words = [sys.executable, *again.split()[1:], "--quiet"]
    assert subprocess.run(words, cwd=tmp_path, check=False, timeout=300).returncode == 0
    assert not journal.exists()
    assert (tmp_path / "runs" / "induction" / "circuit.json").is_file()


@pytest.mark.parametrize(
    ("command", "place", "words"),
    [
        (
            "evaluate it",
            "catalog.files.load_record",
            "Nothing is saved. To begin again: circuitgraph",
        ),
        (
            "leaderboard",
            "jobs.leaderboard.measure_cells",
            "kept in 'runs/leaderboard'. To go on: circuitgraph",
        ),
    ],
)
def test_other_commands_say_what_there_is(
    run: Callable[..., Ran],
    monkeypatch: pytest.MonkeyPatch,
    command: str,
    place: str,
    words: str,
) -> None:
    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(f"circuitgraph.{place}", stop)
    ran = run(*command.split())
    assert (ran.code, ran.out) == (130, "")
    assert ran.err.count("\n") == 1
    assert ran.err.endswith(f"{words} {command}\n")


def test_after_the_results_are_written_it_says_where_they_are(
    run: Callable[..., Ran], monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("circuitgraph.cli.discover_report.make_circuit_record", stop)
    ran = run("discover", "induction", "--limit", 6)
    assert (ran.code, ran.err.splitlines()[-1]) == (
        130,
        "Stopped. All results are in 'runs/induction'.",
    )


def test_options_that_were_given_are_not_given_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["bin/circuitgraph", "discover", "a b", "--out=c", "--resume"])
    options = {"--resume": ["--resume"], "-o/--out": ["--out", "runs/x"]}
    assert repeat_command(options) == "circuitgraph discover 'a b' --out=c --resume"
