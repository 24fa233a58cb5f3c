"""Where jobs are done: in this process, in processes of this machine, or wherever Dask has some.

Anything of the shape of `concurrent.futures.Executor` will do. What is sent to a process is plain
(words, numbers, paths), what comes back is a small record; models are loaded where they are used.
This file imports no array library: a new process bounds its threads before one is loaded.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import re
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import (
    FIRST_COMPLETED,
    BrokenExecutor,
    Executor,
    Future,
    ProcessPoolExecutor,
    ThreadPoolExecutor,
    wait,
)
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from circuitgraph.errors import ArgumentError, CircuitGraphError, check_between
from circuitgraph.printable import NAME, shorten_text

MOST_WORKERS = 1024
_TRIES = 2
_ADDRESS = re.compile(r"(?:[a-z]+://)?[\w.:\[\]-]{1,255}:\d{1,5}")
_LOST_BY_DASK = "KilledWorker"  # by name, so that Dask is not needed; it has tried several workers
_THREADS = ("NPROC", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")  # NPROC: XLA's

Job = TypeVar("Job")
Result = TypeVar("Result")


class WorkerError(CircuitGraphError, RuntimeError):
    """The process that did a job ended before the job did: out of memory, killed, crashed."""


class InlineExecutor(Executor):
    """Does a job in this process, at once."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """The job, done."""
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


class LocalProcesses(Executor):
    """Processes of this machine, each by itself: one that dies takes no job but its own along.

    A pool of the standard library is broken as a whole when one of its processes dies. So each
    worker here is a thread with a pool of one process, which is made anew after it broke. Processes
    are spawned: a copy of a process in which jax runs threads may hang.
    """

    def __init__(self, workers: int) -> None:
        self._threads = ThreadPoolExecutor(workers, thread_name_prefix="circuitgraph-worker")
        share = max(1, count_processors() // workers)
        self._environment = dict.fromkeys(_THREADS, str(share)) | describe_cache()
        self._own = threading.local()
        self._pools: dict[ProcessPoolExecutor, int] = {}  # with the number of its process
        self._lock, self._closed = threading.Lock(), False

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """The job, as soon as a process is free."""
        return self._threads.submit(self._run_job, fn, args, kwargs)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """End all processes: when their jobs are done, or now if jobs are to be cancelled."""
        if cancel_futures:
            with self._lock:
                self._closed = True
                for number in self._pools.values():
                    _end_process(number)
        self._threads.shutdown(wait, cancel_futures=cancel_futures)
        for pool in list(self._pools):
            pool.shutdown(wait)

    def _run_job(self, fn: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        try:
            return self._open_pool().submit(fn, *args, **kwargs).result()
        except BrokenExecutor:
            with self._lock:
                self._pools.pop(self._own.pool, None)
            self._own.pool = None
            raise

    def _open_pool(self) -> ProcessPoolExecutor:
        """The pool of this thread."""
        if getattr(self._own, "pool", None) is None:
            spawn = multiprocessing.get_context("spawn")
            self._own.pool = ProcessPoolExecutor(1, spawn, _prepare_process, (self._environment,))
            number = self._own.pool.submit(os.getpid).result()
            with self._lock:
                self._pools[self._own.pool] = number
                if self._closed:  # meanwhile
                    _end_process(number)
        return self._own.pool


def count_processors() -> int:
    """How many processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def describe_cache() -> dict[str, str]:
    """Where jax keeps compiled programs, as variables for a process in which it does the same."""
    import jax

    config: Any = jax.config
    if (folder := config.jax_compilation_cache_dir) is None:
        return {}
    seconds = config.jax_persistent_cache_min_compile_time_secs
    return {
        "JAX_COMPILATION_CACHE_DIR": str(folder),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": str(seconds),
    }


def _prepare_process(environment: Mapping[str, str]) -> None:
    """Make a new process ready: its share of threads, and an end at Ctrl-C."""
    os.environ.update(environment)
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # at once, without a traceback


def _end_process(number: int) -> None:
    with contextlib.suppress(OSError):
        os.kill(number, signal.SIGTERM)


@contextmanager
def open_executor(
    workers: int = 1, scheduler: str | None = None, folder: str | Path | None = None
) -> Iterator[Executor]:
    """What does jobs while the body runs; an error in the body, or Ctrl-C, ends its processes.

    Args:
        workers: processes of this machine; 1 is this process.
        scheduler: address of a Dask scheduler whose workers do the jobs instead.
        folder: that jobs write into; the workers of a scheduler must see it.

    Raises:
        ArgumentError: a number of workers that makes no sense, or a scheduler that cannot be used.
        MissingExtraError: a scheduler, but the extra ``cluster`` is not installed.
    """
    check_place(workers, scheduler)
    if scheduler is not None:
        from circuitgraph.jobs.cluster import connect_executor

        with connect_executor(scheduler, folder) as executor:
            yield executor
        return
    executor = InlineExecutor() if workers == 1 else LocalProcesses(workers)
    try:
        yield executor
    except BaseException:
        executor.shutdown(wait=True, cancel_futures=True)
        raise
    executor.shutdown()


def check_place(workers: int, scheduler: str | None = None) -> None:
    """Refuse what `open_executor` cannot open, as far as the words show it.

    Raises:
        ArgumentError: a number of workers that makes no sense, what is no address, or both.
    """
    check_between("the number of workers", workers, 1, MOST_WORKERS)
    if scheduler is not None and workers != 1:
        raise ArgumentError(
            f"Both a scheduler and {workers} workers were given: leave the number out, the "
            "scheduler has its own."
        )
    if scheduler is not None and not _ADDRESS.fullmatch(scheduler):
        raise ArgumentError(
            f"The scheduler {shorten_text(scheduler, NAME)!r} is no address: expected one such as "
            "tcp://10.0.0.1:8786."
        )


def run_jobs(
    executor: Executor, work: Callable[[Job], Result], jobs: Sequence[Job]
) -> Iterator[tuple[Job, Result | WorkerError]]:
    """Do jobs, and give each with its result as soon as it is done.

    A job whose process died is done once more; then its result is a `WorkerError`. Any other error
    of a job is raised.

    Args:
        work: a function of a module, which a process can import.
        jobs: plain values.
    """
    pending: dict[Future[Result], tuple[Job, int]] = {}
    for job in jobs:
        pending[executor.submit(work, job)] = job, 1
        yield from _take_done(executor, work, pending, 0.0)
    while pending:
        yield from _take_done(executor, work, pending, None)


def _take_done(
    executor: Executor,
    work: Callable[[Job], Result],
    pending: dict[Future[Result], tuple[Job, int]],
    seconds: float | None,
) -> Iterator[tuple[Job, Result | WorkerError]]:
    """Wait that long for any job, and give those that are done; lost ones begin again."""
    done = wait(pending, seconds, FIRST_COMPLETED).done
    for future in [each for each in pending if each in done]:
        job, tries = pending.pop(future)
        try:
            yield job, future.result()
        except BrokenExecutor:
            if tries == _TRIES:
                yield job, _describe_loss()
            else:
                pending[executor.submit(work, job)] = job, tries + 1
        except Exception as error:
            if type(error).__name__ != _LOST_BY_DASK:
                raise
            yield job, _describe_loss()


def _describe_loss() -> WorkerError:
    return WorkerError(
        "The process that did it died, and so did the next: it was killed, had no memory left, or "
        "could not start. Try fewer workers; in a script, call from under "
        "`if __name__ == '__main__':`."
    )
