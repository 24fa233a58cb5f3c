"""Executors: jobs in this process or in others, and processes that die in the middle of a job."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from time import sleep
from typing import Any

import pytest

from circuitgraph.errors import ArgumentError
from circuitgraph.jobs import executors
from circuitgraph.jobs.executors import (
    InlineExecutor,
    LocalProcesses,
    WorkerError,
    open_executor,
    run_jobs,
)
from tests.jobs.workers import die, die_once, fail, read_threads, square


def test_in_this_process_a_job_is_given_as_soon_as_it_is_done() -> None:
    begun: list[int] = []

    def note(number: int) -> int:
        begun.append(number)
        return square(number)

    results = run_jobs(InlineExecutor(), note, [1, 2, 3])
    assert next(results) == (1, 1)
    assert begun == [1]
    assert list(results) == [(2, 4), (3, 9)]


def test_errors_of_a_job_are_raised() -> None:
    with pytest.raises(ValueError, match="no 1"):
        list(run_jobs(InlineExecutor(), fail, [1]))


@pytest.mark.parametrize("workers", [0, 10_000])
def test_numbers_of_workers_without_sense(workers: int) -> None:
    with pytest.raises(ArgumentError, match="the number of workers"), open_executor(workers):
        pass


def test_processes_share_the_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Jobs of any order, threads bounded, and a process that dies takes its own job along alone."""
    monkeypatch.setattr(executors, "count_processors", lambda: 6)
    with open_executor(2) as processes:
        assert isinstance(processes, LocalProcesses)
        assert list(run_jobs(processes, read_threads, [0])) == [(0, ["3", "3"])]
        assert sorted(run_jobs(processes, square, [1, 2, 3])) == [(1, 1), (2, 4), (3, 9)]
        assert processes.submit(die_once, str(tmp_path)).exception() is not None
        (tmp_path / "first").unlink()
        [(_, number)] = run_jobs(processes, die_once, [str(tmp_path)])
        assert isinstance(number, int)
        results = dict(run_jobs(processes, die, [0, 1, 2]))
    assert isinstance(results.pop(0), WorkerError)
    assert results == {1: 1, 2: 2}


def test_an_interrupt_ends_the_processes() -> None:
    waiting: list[Future[Any]] = []

    def interrupt() -> None:
        with open_executor(2) as processes:
            assert processes.submit(square, 2).result() == 4
            waiting.extend(processes.submit(sleep, 60) for _ in range(5))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupt()
    assert all(each.cancelled() or each.exception() is not None for each in waiting)


def test_anything_of_the_shape_will_do() -> None:
    class Backwards(InlineExecutor):
        def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
            return super().submit(fn, *(-each for each in args), **kwargs)

    assert list(run_jobs(Backwards(), abs, [1])) == [(1, 1)]
