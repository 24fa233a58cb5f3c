"""Ctrl-C: one line that says what is saved and which command goes on, and the status 130."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import typer

STATUS = 128 + 2  # as shells say it of a program that SIGINT ended


@contextmanager
def explain_interrupt() -> Iterator[None]:
    """End with one line on stderr when Ctrl-C stops the body.

    A command that has saved something adds a note to the `KeyboardInterrupt`.
    """
    try:
        yield
    except KeyboardInterrupt as error:
        notes = getattr(error, "__notes__", [])
        nothing = f"Nothing is saved. To begin again: {repeat_command()}"
        typer.echo(f"Stopped. {' '.join(notes) or nothing}", err=True)
        raise typer.Exit(STATUS) from error


def repeat_command(more: Mapping[str, Sequence[str]] | None = None) -> str:
    """The command that this process was started with, as a shell takes it.

    Args:
        more: options to add, each as words, unless one of its names (between slashes) is there.
    """
    program, *words = sys.argv
    name = "python -m circuitgraph" if Path(program).stem == "__main__" else "circuitgraph"
    given = {word.partition("=")[0] for word in words}
    for names, option in (more or {}).items():
        if not given & set(names.split("/")):
            words += option
    return f"{name} {shlex.join(words)}"
