"""Jobs on many machines: the workers of a Dask scheduler. Needs the extra ``cluster``."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import circuitgraph
from circuitgraph.errors import ArgumentError, MissingExtraError, first_line, list_problems
from circuitgraph.printable import NAME, shorten_text

_SECONDS = 10.0  # for the scheduler to answer, and for a first worker to be there


@contextmanager
def connect_executor(address: str, folder: str | Path | None = None) -> Iterator[Executor]:
    """What has jobs done by the workers of a Dask scheduler, while the body runs.

    A job whose worker dies is given to another. The scheduler and its workers are trusted: they
    run what they are sent, and what they send back is unpickled.

    Args:
        address: of the scheduler, such as ``tcp://10.0.0.1:8786``.
        folder: that all workers must see under the same path.

    Raises:
        MissingExtraError: ``distributed`` is not installed.
        ArgumentError: no scheduler answers there, it has no worker, or a worker has another
            circuitgraph or does not see the folder.
    """
    try:
        from distributed import Client
    except ImportError as error:
        raise MissingExtraError(
            "A scheduler needs the package distributed: pip install "
            "'circuitgraph-interp[cluster]'. Without it, use --workers."
        ) from error
    shown = repr(shorten_text(address, NAME))
    try:
        client = Client(address, timeout=_SECONDS)
    except (OSError, ValueError, TypeError) as error:
        raise ArgumentError(
            f"No Dask scheduler answers at {shown} ({first_line(error)}): start one with `dask "
            "scheduler`, and give the address that it prints."
        ) from error
    try:
        _check_workers(client, shown, None if folder is None else str(folder))
        yield client.get_executor(pure=False)
    finally:
        client.close()  # jobs that have not begun are forgotten


def _check_workers(client: Any, shown: str, folder: str | None) -> None:
    """Refuse a scheduler without workers, and workers that could not do the jobs."""
    try:
        client.wait_for_workers(1, timeout=_SECONDS)
    except TimeoutError as error:
        raise ArgumentError(
            f"The scheduler at {shown} has no worker: start some with `dask worker ADDRESS "
            "--nthreads 1`."
        ) from error
    problems = []
    for worker, answer in client.run(describe_worker, folder, on_error="return").items():
        if isinstance(answer, Exception):
            problems.append(f"{worker} cannot use circuitgraph: {first_line(answer)}")
            continue
        version, sees_folder = answer
        if version != circuitgraph.__version__:
            problems.append(f"{worker} has circuitgraph {version}, not {circuitgraph.__version__}")
        if not sees_folder:
            problems.append(f"{worker} does not see {folder!r}, which all machines must share")
    if problems:
        raise ArgumentError(list_problems(f"Workers of {shown} cannot be used:", problems))


def describe_worker(folder: str | None) -> tuple[str, bool]:
    """The version of circuitgraph here, and whether this machine sees a folder."""
    return circuitgraph.__version__, folder is None or os.path.isdir(folder)
