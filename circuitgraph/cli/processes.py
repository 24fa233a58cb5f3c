"""One command run by several processes, on one or several hosts, whose devices share one model."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from circuitgraph.cli.output import Output
from circuitgraph.errors import ArgumentError, check_between

PROCESSES = "Several processes"  # a box of `--help`
_MOST = 2**16
_LARGEST_PORT = 2**16 - 1


@dataclass(frozen=True)
class ProcessOptions:
    """Which of several processes this one is: all three are given, or none."""

    coordinator: Annotated[
        str | None,
        typer.Option(
            "--coordinator",
            rich_help_panel=PROCESSES,
            metavar="HOST:PORT",
            help="Where process 0 listens. Every process runs the same command with --shard.",
        ),
    ] = None
    n_processes: Annotated[
        int | None,
        typer.Option("--n-processes", rich_help_panel=PROCESSES, help="How many there are."),
    ] = None
    process_id: Annotated[
        int | None,
        typer.Option(
            "--process-id",
            rich_help_panel=PROCESSES,
            help="Which one this is, from 0. Only process 0 prints and writes.",
        ),
    ] = None

    @property
    def are_several(self) -> bool:
        return self.coordinator is not None

    @property
    def owns_output(self) -> bool:
        """Whether this process prints and writes."""
        return not self.process_id

    def check(self, shard: int | None, *, resume: bool, dry_run: bool) -> None:
        """Refuse what cannot be, before any process waits for the others.

        Raises:
            ArgumentError: says which options do not go together.
        """
        given = {
            "--coordinator": self.coordinator,
            "--n-processes": self.n_processes,
            "--process-id": self.process_id,
        }
        missing = [name for name, value in given.items() if value is None]
        if len(missing) == len(given):
            return
        if missing:
            name, value = next((n, value) for n, value in given.items() if value is not None)
            raise ArgumentError(
                f"{name} is {value!r}, but several processes need {' and '.join(missing)} as well: "
                "give all three, or none."
            )
        check_between("--n-processes", self.n_processes or 0, 2, _MOST)
        check_between("--process-id", self.process_id or 0, 0, (self.n_processes or 0) - 1)
        _check_address(self.coordinator or "")
        if shard is None:
            raise ArgumentError(
                "Several processes share one model: give --shard, the number of all their devices."
            )
        if resume:
            raise ArgumentError(
                "--resume needs a journal that every process reads, but process 0 alone has it: "
                "begin again, with --overwrite."
            )
        if dry_run:
            raise ArgumentError(
                "--dry-run times steps, which take each process another time: leave out "
                "--coordinator, --n-processes and --process-id."
            )


ONE_PROCESS = ProcessOptions()


def _check_address(address: str) -> None:
    host, _, port = address.rpartition(":")
    if not host or not port.isascii() or not port.isdigit() or int(port[:9]) > _LARGEST_PORT:
        raise ArgumentError(f"--coordinator is {address!r}, but must be HOST:PORT.")


@contextmanager
def own_output(
    processes: ProcessOptions, output: Output, out: Path | None
) -> Iterator[tuple[Output, Path | None]]:
    """Where this process speaks and writes: as was asked, or nowhere.

    A process that owns no output writes into a folder of its own, which is removed at the end.
    """
    if processes.owns_output:
        yield output, out
        return
    with tempfile.TemporaryDirectory(prefix="circuitgraph-") as folder:
        yield Output(as_json=False, quiet=True), Path(folder) / "run"


def join_processes(processes: ProcessOptions) -> None:
    """Wait for the others: from here on jax knows the devices of all."""
    if not processes.are_several:
        return
    import jax
    from jax.experimental import multihost_utils

    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    try:
        jax.distributed.initialize(
            processes.coordinator, processes.n_processes, processes.process_id
        )
    except RuntimeError as error:
        raise ArgumentError(
            f"The processes did not find each other at {processes.coordinator}: {error}"
        ) from error
    with _silence_stdout():  # on which the transport says that it is connected
        multihost_utils.sync_global_devices("circuitgraph")


@contextmanager
def _silence_stdout() -> Iterator[None]:
    """What libraries of other languages print goes nowhere meanwhile."""
    sys.stdout.flush()
    kept = os.dup(1)
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), 1)
    try:
        yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)
