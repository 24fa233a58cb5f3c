"""What the author of a hypothesis file is told: diagnostics with their line, and verdicts."""

from __future__ import annotations

import traceback
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from circuitgraph.errors import unknown_name
from circuitgraph.hypotheses.language import Location


@dataclass(frozen=True)
class Diagnostic:
    """Something wrong with a hypothesis, or worth knowing, in words for the author of the file."""

    location: Location
    message: str

    def __str__(self) -> str:
        return f"{format_location(self.location)}: {self.message}"


@dataclass(frozen=True)
class Verdict:
    """Whether a claim held, and why, in words for a person.

    Attributes:
        held: whether the claim was shown; False if it is refuted, or if nothing was shown.
        summary: one line.
        detail: more lines, such as a counterexample.
        undecided: whether the evidence tells neither way, so that more of it may.
    """

    held: bool
    summary: str
    detail: str = ""
    undecided: bool = False

    @property
    def word(self) -> str:
        """``held``, ``refuted`` or ``not shown``."""
        if self.held:
            return "held"
        return "not shown" if self.undecided else "refuted"

    def __str__(self) -> str:
        return f"{self.summary}\n{self.detail}".rstrip()


def format_location(location: Location) -> str:
    """``file:line``, the file relative to the working directory if it lies inside."""
    path = Path(location.file)
    with suppress(ValueError, OSError):  # elsewhere, or a working directory that is gone
        path = path.relative_to(Path.cwd())
    return f"{path}:{location.line}"


def locate_error(error: BaseException, file: str) -> Location | None:
    """The last line of a file that an error passed through; None if it never was in the file."""
    frames = traceback.extract_tb(error.__traceback__)
    lines = [
        frame.lineno for frame in frames if frame.filename == file and frame.lineno is not None
    ]
    return Location(file, lines[-1]) if lines else None


def format_error(error: BaseException) -> str:
    """The error's kind and message, as Python prints them."""
    return "".join(traceback.format_exception_only(error)).strip()


def describe_unknown(kind: str, given: str, known: Iterable[str]) -> str:
    """The sentence about a name that does not exist, with the nearest names that do."""
    return str(unknown_name(kind, given, known))


def format_share(n: int, total: int) -> str:
    """``412 of 1,000``."""
    return f"{n:,} of {total:,}"
