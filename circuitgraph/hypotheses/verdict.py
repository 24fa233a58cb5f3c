"""The verdict on one claim."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Verdict:
    """Whether a claim held, and why, in words for a person.

    Attributes:
        held: False if it is refuted, or if the prompts were too few to show it.
        summary: one line.
        detail: more lines, such as a counterexample.
    """

    held: bool
    summary: str
    detail: str = ""

    def __str__(self) -> str:
        return f"{self.summary}\n{self.detail}".rstrip()
