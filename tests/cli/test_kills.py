"""Commands that are killed without warning, then run again: the same results, nothing beside."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Ran, files_below

# Takes its time with every file and every step, so that there are moments to be killed in.
SLOW = """
import os, time
from circuitgraph.cli.main import main
honest = os.write
def write(descriptor, content):
    time.sleep(0.03)
    return honest(descriptor, content)
os.write = write
main()
"""
COMMANDS: dict[str, tuple[tuple[str, ...], str]] = {
    "sweep": (
        (
            *("discover", "constructed:histogram", "--limit", "6", "--thresholds", "0.1,1"),
            *("--quiet", "--out", "runs/it"),
        ),
        "it.journal.jsonl",
    ),
    "leaderboard": (
        (
            *("leaderboard", "--task", "induction", "--model", "induction-2l", "--quiet"),
            *("--algorithm", "random", "--algorithm", "eap", "--bootstraps", "0"),
            *("--limit", "4", "--judging-limit", "4"),
        ),
        "*/*/.*.circuitgraph-*",
    ),
}


def read_results(folder: Path) -> dict[str, Any]:
    """All files of results, without the time that they took."""

    def drop_seconds(value: Any) -> Any:
        if isinstance(value, dict):
            return {k: drop_seconds(v) for k, v in value.items() if k != "seconds"}
        return [drop_seconds(v) for v in value] if isinstance(value, list) else value

    paths = [folder / name for name in files_below(folder) if "journal" not in name]
    return {
        str(path.relative_to(folder)): drop_seconds(json.loads(path.read_text()))
        if path.suffix == ".json"
        else path.read_bytes()
        for path in paths
        if path.is_file()
    }


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no such signal on this system")
@pytest.mark.parametrize("case", COMMANDS)
def test_a_killed_command_run_again_ends_as_an_undisturbed_one(
    run: Callable[..., Ran], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    command, sign = COMMANDS[case]
    (tmp_path / "whole").mkdir()
    (tmp_path / "killed").mkdir()
    monkeypatch.chdir(tmp_path / "whole")
    assert run(*command).code == 0
    monkeypatch.chdir(tmp_path / "killed")
    process = subprocess.Popen([sys.executable, "-c", SLOW, *command])
    runs = Path("runs") if case == "sweep" else Path("runs/leaderboard")
    while process.poll() is None and not list(runs.glob(sign)):
        time.sleep(0.002)
    time.sleep(0.2 if case == "sweep" else 0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, "it ended before it was killed"
    assert list(runs.glob(sign)), "nothing was left half done"
    again = ["--resume"] if case == "sweep" else []
    assert run(*command, *again) == Ran(0, "", "")
    assert read_results(tmp_path / "killed") == read_results(tmp_path / "whole")
    assert not [name for name in files_below(Path()) if os.path.basename(name).startswith(".")]
