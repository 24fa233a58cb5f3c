"""How commands speak: results on stdout, messages on stderr, one place that decides what is shown."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import typer
from rich.console import Console


@dataclass(frozen=True)
class Output:
    """Where a command writes.

    Attributes:
        as_json: only the record goes to stdout; quiet: nothing but what was asked for, and errors.
    """

    as_json: bool
    quiet: bool
    out: Console = field(default_factory=lambda: Console(markup=False, emoji=False))
    err: Console = field(default_factory=lambda: Console(stderr=True, markup=False, emoji=False))

    @property
    def shows_bars(self) -> bool:
        """Whether progress is wanted; it also stays away where stderr is not a terminal."""
        return not self.quiet and self.err.is_terminal

    def result(self, json_text: str, *shown: Any) -> None:
        """Print a result: as JSON, as something to look at, or not at all."""
        if self.as_json:
            typer.echo(json_text.rstrip("\n"))
        elif not self.quiet:
            for part in shown:
                self.out.print(part, soft_wrap=isinstance(part, str))

    def say(self, message: str) -> None:
        """A message to the person at the terminal."""
        if not self.quiet:
            self.err.print(message, highlight=False, soft_wrap=True)

    @contextmanager
    def waiting(self, what: str) -> Iterator[None]:
        """A spinner while something without a known length is going on."""
        if self.quiet:
            os.environ.setdefault(
                "HF_HUB_DISABLE_PROGRESS_BARS", "1"
            )  # read when the hub's library is imported
        if self.quiet or not self.err.is_terminal:
            yield
        else:
            with self.err.status(what):
                yield
