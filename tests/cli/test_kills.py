"""Commands that are killed without warning, then run again: the same results, nothing beside."""

from __future__ import annotations

import importlib
import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

TOOLS = Path(__file__).resolve().parents[2] / "tools"
# What lies there when a result is half done.
SIGNS = {
    "sweep": "runs/it.journal.jsonl",
    "leaderboard": "runs/leaderboard/*/*/.*.circuitgraph-*",
    "evaluate": ".curve.csv.circuitgraph-*",
    "render": ".picture.dot.circuitgraph-*",
    "training": "models/.it.circuitgraph-*/model.safetensors",
}


@pytest.fixture(scope="module")
def kills() -> Iterator[Any]:
    """The tool, which tries the same at random times."""
    sys.path.insert(0, str(TOOLS))
    try:
        yield importlib.import_module("kills")
    finally:
        sys.path.remove(str(TOOLS))


@pytest.fixture(scope="module")
def work(kills: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what the commands are given."""
    folder = tmp_path_factory.mktemp("kills")
    kills.write_given(folder / "given")
    return folder


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no such signal on this system")
@pytest.mark.parametrize("name", SIGNS)
def test_a_killed_command_run_again_ends_as_an_undisturbed_one(
    kills: Any, work: Path, name: str
) -> None:
    case, place = kills.CASES[name], work / f"killed {name}"
    _, whole = kills.run_whole(case, work / f"whole {name}")
    place.mkdir()
    process = kills.start_command(case.words, place, slow=True)
    while process.is_alive() and not list(place.glob(SIGNS[name])):
        time.sleep(0.002)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert process.exitcode == -signal.SIGKILL, "it ended before it was killed"
    assert list(place.glob(SIGNS[name])), "nothing was left half done"
    assert kills.read_results(place) != whole
    kills.end_command(case.choose_words(place), place)
    assert kills.read_results(place) == whole


@pytest.mark.slow
def test_another_result_is_seen(kills: Any, work: Path) -> None:
    case = kills.Case(("list", "tasks"))
    _, whole = kills.run_whole(case, work / "whole")
    (work / "whole" / ".left.circuitgraph-00000000").touch()
    assert kills.read_results(work / "whole") != whole
