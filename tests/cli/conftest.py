"""The command line, called in this process: fast, and with everything that it printed."""

from __future__ import annotations

import contextlib
import importlib
import io
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import pytest

from circuitgraph.catalog.files import load_circuit, load_record
from circuitgraph.cli.main import main
from tests.parity.cases import CASES
from tests.parity.harness import save_random


@dataclass(frozen=True)
class Ran:
    """How a command ended and what it printed."""

    code: int
    out: str
    err: str


def call(*args: object) -> Ran:
    """``circuitgraph ARGS`` as the installed command would run it."""
    out, err, code = io.StringIO(), io.StringIO(), 0
    argv = mock.patch.object(sys, "argv", ["circuitgraph", *map(str, args)])
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), argv:
        try:
            main()
        except SystemExit as ended:
            code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    return Ran(code, out.getvalue(), err.getvalue())


def files_below(folder: Path) -> set[str]:
    """Everything in a folder, hidden things and folders too."""
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Compiled programs go to a folder of this test run, and messages are not wrapped."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("COLUMNS", "400")
        patch.setenv("NO_COLOR", "1")
        patch.setenv("TERM", "dumb")
        yield


@pytest.fixture(scope="session", autouse=True)
def few_prompts() -> Iterator[None]:
    """Circuits are judged on fewer prompts than by default, if a test gives no number.

    Commands are tested here, not bounds; each of them would run for seconds. Not a multiple of the
    6 prompts of most searches here: judged later, a circuit is judged in launches of another size.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("circuitgraph.jobs.workbench.N_EVALUATION", 32)
        yield


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Ran]:
    """Run a command in an empty folder."""
    monkeypatch.chdir(tmp_path)
    return call


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Ran]:
    """A real run of the main job with ``--json``, read only: its folder and what it printed."""
    folder = tmp_path_factory.mktemp("finished") / "run"
    return folder, call("discover", "induction", "--limit", 6, "--out", folder, "--json")


@pytest.fixture
def canned(finished: tuple[Path, Ran], monkeypatch: pytest.MonkeyPatch) -> None:
    """The search and the judgement give what they gave before, at once; all around them is real."""
    evaluation = load_record(finished[0]).evaluation
    search = "circuitgraph.jobs.discover.find_circuit"
    monkeypatch.setattr(search, lambda *_: load_circuit(finished[0]))
    monkeypatch.setattr("circuitgraph.jobs.evaluate.evaluate_circuit", lambda *_: evaluation)


@pytest.fixture
def no_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """Loading any model fails the test."""

    def fail(*args: object, **options: object) -> None:
        raise AssertionError("a model was loaded before the command line was checked")

    # a module that is imported only now would keep the failing function for ever
    for keeper in ("jobs.leaderboard", "hypotheses.study"):
        importlib.import_module(f"circuitgraph.{keeper}")
    monkeypatch.setattr("circuitgraph.models.loading.load_model", fail)


@pytest.fixture(scope="session")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random grouped-query model without a tokenizer, to be read only."""
    return save_random(tmp_path_factory.mktemp("llama"), "llama", **CASES["llama"])
