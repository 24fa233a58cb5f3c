"""How commands speak: results on stdout, messages on stderr; one class decides what is shown."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import typer
from rich.console import Console

from circuitgraph.printable import make_lines_printable


@dataclass(frozen=True)
class Output:
    """Where a command writes.

    Attributes:
        as_json: only the record goes to stdout.
        quiet: nothing is shown but the record, if ``as_json`` is set, and errors.
    """

    as_json: bool
    quiet: bool
    out: Console = field(default_factory=lambda: Console(markup=False, emoji=False))
    err: Console = field(default_factory=lambda: Console(stderr=True, markup=False, emoji=False))

    @property
    def shows_bars(self) -> bool:
        """Whether to show progress: a bar, or lines where stderr is no terminal."""
        return not self.quiet

    def print_result(self, json_text: str, *parts: Any) -> None:
        """Print a result: as JSON, or as tables and lines for a person, or not at all."""
        if self.as_json:
            typer.echo(json_text.rstrip("\n"))
        elif not self.quiet:
            for part in parts:
                shown = make_lines_printable(part) if isinstance(part, str) else part
                self.out.print(shown, soft_wrap=isinstance(part, str))

    def print_message(self, message: str) -> None:
        """Print a message to the person at the terminal."""
        if not self.quiet:
            self.err.print(make_lines_printable(message), highlight=False, soft_wrap=True)

    @contextmanager
    def show_spinner(self, activity: str) -> Iterator[None]:
        """Show a spinner while something without a known length is going on."""
        if self.quiet:
            # The hub's library reads this when it is imported, which has not happened yet.
            os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
        if self.quiet or not self.err.is_terminal:
            yield
        else:
            with self.err.status(activity):
                yield
