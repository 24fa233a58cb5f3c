"""One thing that is wrong with a hypothesis, and where it is written."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from circuitgraph.errors import unknown_name
from circuitgraph.hypotheses.language import Where
from circuitgraph.hypotheses.located import shown


@dataclass(frozen=True)
class Finding:
    """Something wrong, or worth knowing, in words for the author of the file."""

    where: Where
    message: str

    def __str__(self) -> str:
        return f"{shown(self.where)}: {self.message}"


def unknown(kind: str, given: str, known: Iterable[str]) -> str:
    """The sentence about a name that does not exist, with the nearest ones."""
    return str(unknown_name(kind, given, known))


def share(n: int, of: int) -> str:
    """``412 of 1,000``."""
    return f"{n:,} of {of:,}"
