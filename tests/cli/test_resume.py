"""Searches that end early: what is kept, what is said, and that the resumed run ends as an
undisturbed one.
"""

from __future__ import annotations

import json
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from circuitgraph.engine.experiment import Experiment
from circuitgraph.errors import SearchError
from tests.cli.conftest import Ran, files_below

QUICK = ("discover", "induction", "--limit", 6)
JOURNAL = Path("runs/induction.journal.jsonl")


def equal(one: Path, two: Path) -> None:
    """Two folders of the same search, bit for bit but for the time that it took."""
    records = [json.loads((folder / "circuit.json").read_text()) for folder in (one, two)]
    for record in records:
        del record["algorithm"]["seconds"]
    assert records[0] == records[1]
    assert (one / "scores.safetensors").read_bytes() == (two / "scores.safetensors").read_bytes()


@pytest.fixture
def stopped(run: Callable[..., Ran], finished: tuple[Path, Ran], tmp_path: Path) -> Path:
    """The journal of a search that was killed half-way, where a default run has it."""
    lines = (finished[0] / "journal.jsonl").read_bytes().splitlines(keepends=True)
    path = tmp_path / JOURNAL
    path.parent.mkdir()
    path.write_bytes(b"".join(lines[: len(lines) // 2]) + lines[len(lines) // 2][:9])
    return path


@pytest.mark.usefixtures("stopped")
@pytest.mark.parametrize("out", [(), ("--out", "runs/induction")])
def test_resumed_it_ends_as_an_undisturbed_run(
    run: Callable[..., Ran], finished: tuple[Path, Ran], tmp_path: Path, out: tuple[str, ...]
) -> None:
    ran = run(*QUICK, *out, "--resume", "--quiet")
    assert ran == Ran(0, "", "")
    equal(tmp_path / "runs" / "induction", finished[0])
    assert {path.name for path in (tmp_path / "runs").iterdir()} == {"induction"}


@pytest.mark.usefixtures("canned")
def test_an_unfinished_search_is_not_overlooked(run: Callable[..., Ran], stopped: Path) -> None:
    before = stopped.read_bytes()
    ran = run(*QUICK)
    assert (ran.code, ran.out) == (2, "")
    assert f"'{JOURNAL}'" in ran.err
    assert "--resume" in ran.err
    assert "--overwrite" in ran.err
    assert stopped.read_bytes() == before


def test_overwrite_begins_again(
    run: Callable[..., Ran], stopped: Path, finished: tuple[Path, Ran]
) -> None:
    stopped.write_bytes(stopped.read_bytes() + b"and more that is damaged\n" * 2)
    assert run(*QUICK, "--overwrite", "--quiet") == Ran(0, "", "")
    equal(Path("runs/induction"), finished[0])
    assert not stopped.exists()


def test_another_search_is_refused_with_what_differs(
    run: Callable[..., Ran], stopped: Path
) -> None:
    before = stopped.read_bytes()
    ran = run("discover", "induction", "--limit", 7, "--seed", 3, "--threshold", 0.5, "--resume")
    assert (ran.code, ran.out) == (2, "")
    header = json.loads(before.splitlines()[0])
    chosen = header["algorithm"]["arguments"]["threshold"]
    for phrase in (
        f"threshold: {chosen} in the journal, 0.5 now",
        "task.n_prompts: 6",
        "task.seed: 0",
        "prompts_sha256",
    ):
        assert phrase in ran.err
    assert "weights" not in ran.err
    assert stopped.read_bytes() == before


@pytest.mark.usefixtures("canned")
@pytest.mark.parametrize("out", [(), ("--out", "mine")])
def test_nothing_to_resume(run: Callable[..., Ran], tmp_path: Path, out: tuple[str, ...]) -> None:
    ran = run(*QUICK, *out, "--resume")
    assert (ran.code, ran.out) == (2, "")
    assert "nothing to resume" in ran.err
    assert files_below(tmp_path) == set()


@pytest.mark.usefixtures("canned")
def test_the_first_unfinished_one_is_resumed(run: Callable[..., Ran], stopped: Path) -> None:
    for number in (10, 3):
        shutil.copy(stopped, stopped.with_name(f"induction-{number}.journal.jsonl"))
    stopped.rename(stopped.with_name("induction-else.journal.jsonl"))
    assert run(*QUICK, "--resume", "--quiet").code == 0
    left = {path.name for path in stopped.parent.iterdir()}
    assert left == {"induction-3", "induction-10.journal.jsonl", "induction-else.journal.jsonl"}


@pytest.mark.parametrize(
    "end", [KeyboardInterrupt(), SearchError("Removing embed->a0.h3<v>: nan."), MemoryError("full")]
)
def test_the_message_says_how_to_go_on_unless_it_must_end_again(
    run: Callable[..., Ran],
    finished: tuple[Path, Ran],
    monkeypatch: pytest.MonkeyPatch,
    end: BaseException,
) -> None:
    honest, calls = Experiment.removal_losses, []

    def ending(
        self: Experiment, mask: np.ndarray, edges: np.ndarray, going: np.ndarray, **options: bool
    ) -> np.ndarray:
        calls.append(edges)
        if len(calls) == 5:
            raise end
        return honest(self, mask, edges, going, **options)

    with monkeypatch.context() as patch:
        patch.setattr(Experiment, "removal_losses", ending)
        if isinstance(end, MemoryError):
            with pytest.raises(MemoryError) as error:
                run(*QUICK, "--quiet")
            said = "\n".join(error.value.__notes__)
        else:
            ran = run(*QUICK, "--quiet")
            assert (ran.code, ran.out) == (130 if isinstance(end, KeyboardInterrupt) else 2, "")
            said = ran.err
    if isinstance(end, SearchError):  # a search that goes on would end in the same way
        assert "Removing embed->a0.h3<v>" in said
        assert "--resume" not in said
    else:
        assert f"kept in '{JOURNAL}'" in said
        assert "--resume --out runs/induction" in said
    assert files_below(Path("runs")) == {JOURNAL.name}
    assert run(*QUICK, "--resume", "--out", "runs/induction", "--quiet") == Ran(0, "", "")
    equal(Path("runs/induction"), finished[0])


# A search that takes its time between two steps, so that there is a moment to kill it in.
SLOW = """
import time
from circuitgraph.cli.main import main
from circuitgraph.discovery.journal import JournalWriter
honest = JournalWriter.write_step
JournalWriter.write_step = lambda self, entries: (honest(self, entries), time.sleep(0.02))[0]
main()
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no such signal on this system")
def test_killed_at_random_moments_it_ends_as_an_undisturbed_run(
    run: Callable[..., Ran], finished: tuple[Path, Ran], tmp_path: Path
) -> None:
    """Three kills without warning, each a little while after the journal grew, then a run to the
    end.
    """
    rng = random.Random(4)  # noqa: S311
    command = [*map(str, QUICK), "--out", "run", "--quiet"]
    journal = tmp_path / "run.journal.jsonl"
    whole = (finished[0] / "journal.jsonl").stat().st_size
    size = 0
    for third in range(3):
        aim = max(size, int(whole * (third + rng.random()) / 4)) + 1
        process = subprocess.Popen(
            [sys.executable, "-c", SLOW, *command, *["--resume"] * bool(third)]
        )
        while process.poll() is None and (journal.stat().st_size if journal.exists() else 0) < aim:
            time.sleep(0.002)
        time.sleep(rng.random() / 50)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL, "it ended before it was killed"
        size = journal.stat().st_size
        assert size >= aim
        assert files_below(tmp_path) == {journal.name}
    assert run(*command, "--resume") == Ran(0, "", "")
    equal(tmp_path / "run", finished[0])
