"""How far a long thing is: a bar on a terminal, and a line every half minute where there is none.

All bars of the house come from here. Everything goes to standard error.
"""

from __future__ import annotations

import sys
import time
import warnings
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from io import TextIOBase
from typing import TextIO

from tqdm import TqdmWarning

with warnings.catch_warnings():
    # In a notebook without ipywidgets the bars are of text, which is no news to anybody.
    warnings.simplefilter("ignore", TqdmWarning)
    from tqdm.auto import tqdm

SECONDS_BETWEEN_LINES = 30.0
# Lines over whose time the pace is taken: work is uneven, and what was quick an hour ago says
# little about what is left.
_LINES_OF_PACE = 10

_stream: ContextVar[TextIO | TextIOBase | None] = ContextVar("stream of progress", default=None)


@contextmanager
def send_progress(stream: TextIO | TextIOBase) -> Iterator[None]:
    """Have lines go to a stream that is no standard error, such as a copy of one under pytest."""
    token = _stream.set(stream)
    try:
        yield
    finally:
        _stream.reset(token)


class Progress:
    """Units done of a known number of them. This class shows nothing."""

    def advance(self, n: int = 1, note: str = "") -> None:
        """Count ``n`` more units; ``note`` is shown beside them, such as ``12 kept``."""

    def rename(self, what: str) -> None:
        """Say what is going on now."""


class BarProgress(Progress):
    """A bar on a terminal."""

    def __init__(self, bar: tqdm) -> None:
        self._bar = bar

    def advance(self, n: int = 1, note: str = "") -> None:
        if note:
            self._bar.set_postfix_str(note, refresh=False)
        self._bar.update(n)

    def rename(self, what: str) -> None:
        self._bar.set_description(what)


def _is_notebook() -> bool:
    """Whether standard error is the output of a cell, where a bar can be drawn again and again."""
    return type(sys.stderr).__module__.startswith("ipykernel.")


class LineProgress(Progress):
    """A line at most every `SECONDS_BETWEEN_LINES`; nothing about what ends sooner."""

    def __init__(
        self,
        total: int,
        what: str,
        unit: str,
        done: int = 0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._total, self._what, self._unit, self._done = total, what, unit, done
        self._clock, self._start = clock, clock()
        self._written = deque([(self._start, done)], maxlen=_LINES_OF_PACE + 1)
        self._note = ""

    def advance(self, n: int = 1, note: str = "") -> None:
        self._done += n
        self._note = note or self._note
        now = self._clock()
        if now - self._written[-1][0] >= SECONDS_BETWEEN_LINES:
            self._write_line(now)

    def rename(self, what: str) -> None:
        self._what = what

    def finish(self) -> None:
        """Close with a line, if there was one before."""
        if len(self._written) > 1:
            self._write_line(self._clock())

    def _write_line(self, now: float) -> None:
        then, before = self._written[0]
        parts = [f"{self._done:,} of {self._total:,} {self._unit}s"]
        parts += [self._note] if self._note else []
        parts.append(f"{format_duration(now - self._start)} elapsed")
        if self._done < self._total and self._done > before:
            left = (self._total - self._done) * (now - then) / (self._done - before)
            parts.append(f"about {format_duration(left)} left")
        self._written.append((now, self._done))
        stream = _stream.get() or sys.stderr
        stream.write(f"{self._what}: {', '.join(parts)}\n")
        stream.flush()


@contextmanager
def show_progress(
    total: int, what: str, unit: str, *, bar: bool, done: int = 0, leave: bool = True
) -> Iterator[Progress]:
    """Show how far a long thing is.

    Args:
        total: how many units there are.
        what: name of the thing.
        unit: what is counted, in the singular.
        bar: show it; else nothing is written.
        done: how many units were done before.
        leave: let a bar stand when the thing is over.
    """
    if not bar:
        yield Progress()
    elif _stream.get() is None and (sys.stderr.isatty() or _is_notebook()):
        with tqdm(total=total, initial=done, desc=what, unit=unit, leave=leave) as on_terminal:
            yield BarProgress(on_terminal)
    else:
        lines = LineProgress(total, what, unit, done)
        yield lines
        lines.finish()


def format_duration(seconds: float) -> str:
    """``9:05``, or ``1:02:03`` from an hour on."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
