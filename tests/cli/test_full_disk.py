"""A disk that is full at the first byte, in every command that writes: a clear error, nothing left.

A limit on the size of files stands for the disk.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.cli.conftest import Ran, files_below

resource = pytest.importorskip("resource")

COMMANDS = {
    "discover": (("discover", "induction", "--limit", 6), "Nothing was written to 'runs/"),
    "resume": (("discover", "induction", "--limit", 6, "--resume"), "induction.journal.jsonl'"),
    "render": (("render", "mine", "-o", "new/a.dot"), "'new/a.dot' cannot be written"),
    "hypothesize": (("hypothesize", "mine", "-o", "h.py", "--no-roles"), "'h.py' cannot be"),
    "leaderboard": (
        (
            *("leaderboard", "--task", "induction", "--model", "induction-2l", "--bootstraps", 0),
            *("--algorithm", "random", "--limit", 4, "--judging-limit", 4, "--quiet"),
        ),
        "runs/leaderboard/induction/induction-2l/random.json' cannot be written",
    ),
    "curve": (
        ("evaluate", "mine", "--measures", "curve", "--limit", 4, "--curve-out", "c.csv"),
        "'c.csv' cannot be written",
    ),
}


@pytest.fixture
def full_disk() -> Iterator[Callable[[], None]]:
    """Fills the disk; it is emptied when the test ends."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("case", COMMANDS)
def test_a_full_disk_is_a_clear_error(
    run: Callable[..., Ran],
    finished: tuple[Path, Ran],
    full_disk: Callable[[], None],
    request: pytest.FixtureRequest,
    case: str,
) -> None:
    command, phrase = COMMANDS[case]
    shutil.copytree(finished[0], "mine")
    if case == "discover":
        request.getfixturevalue("canned")
    if case == "resume":
        os.mkdir("runs")
        lines = (finished[0] / "journal.jsonl").read_bytes().splitlines(keepends=True)
        Path("runs/induction.journal.jsonl").write_bytes(b"".join(lines[: len(lines) // 2]))
    before = {name: Path(name).stat().st_size for name in files_below(Path())}
    full_disk()
    ran = run(*command)
    assert (ran.code, ran.out) == (2, "")
    assert phrase in ran.err, ran.err
    assert "File too large" in ran.err
    after = {name: Path(name).stat().st_size for name in files_below(Path())}
    journal = "runs/induction.journal.jsonl"
    assert after.keys() - before.keys() <= {"runs"}
    assert before.items() - after.items() <= {(journal, before.get(journal))}
    if case == "resume":
        assert after[journal] > 0, "what it held of whole steps stays"


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no such device on this system")
def test_results_that_cannot_be_printed_are_an_error_too() -> None:
    command = [sys.executable, "-m", "circuitgraph", "list", "algorithms", "--json"]
    with open("/dev/full", "w") as full:
        ended = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert ended.returncode == 2
    assert ended.stderr == (
        "Error: Writing the output failed: No space left on device. Make room, or write "
        "elsewhere.\n"
    )
