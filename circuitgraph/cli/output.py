"""How commands speak: results on stdout, messages on stderr; one class decides what is shown."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from circuitgraph.printable import make_lines_printable

_WIDTH_OF_LOGS = 160  # columns where nothing is a terminal: logs of CI and of queues


def _make_console() -> Console:
    """A console for results, as wide as the terminal; in a pipe, the terminal that it starts in."""
    streams = (sys.stdin, sys.stdout, sys.stderr)
    has_terminal = any(stream is not None and stream.isatty() for stream in streams)
    width = None if has_terminal or "COLUMNS" in os.environ else _WIDTH_OF_LOGS
    return Console(markup=False, emoji=False, width=width)


@dataclass(frozen=True)
class Output:
    """Where a command writes.

    Attributes:
        as_json: only the record goes to stdout.
        quiet: nothing is shown but the record, if ``as_json`` is set, and errors.
    """

    as_json: bool
    quiet: bool
    out: Console = field(default_factory=_make_console)
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
                self._print_part(part)

    def _print_part(self, part: Any) -> None:
        """Print a line or a table; without blanks at ends of lines where there is no terminal."""
        if isinstance(part, str):
            self.out.print(make_lines_printable(part), soft_wrap=True)
            return
        with self.out.capture() as capture:
            if isinstance(part, Table):
                self._print_title(part)
                for column in part.columns:  # what is too long goes on below, and is not cut
                    column.overflow = "ellipsis" if column.no_wrap else "fold"
            self.out.print(part)
        text = capture.get()
        if not self.out.is_terminal:
            text = "".join(f"{line.rstrip()}\n" for line in text.splitlines())
        self.out.file.write(text)

    def _print_title(self, table: Table) -> None:
        """Print a table's title as wide as the console, not as the table, and take it off."""
        if table.title:
            self.out.print(Text(str(table.title), table.title_style or ""))
            table.title = None

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
