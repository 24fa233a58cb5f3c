"""Donors: other prompts with an equal or with another value, found by their place in a list and
never by trying.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Any

import numpy as np

from circuitgraph.hypotheses.program import Program, make_key
from circuitgraph.hypotheses.prompt import Prompt

Key = Callable[[Prompt], Hashable]


def layout(prompt: Prompt) -> Hashable:
    """Equal for prompts of one length whose roles stand at the same places."""
    return len(prompt), tuple(sorted(prompt.position.items()))


def anywhere(prompt: Prompt) -> Hashable:
    """Equal for all prompts."""
    del prompt
    return ()


def value_of(program: Program, variable: str) -> Key:
    """The value of a variable."""
    return lambda prompt: make_key(program.compute_values(prompt)[variable])


class Donors:
    """A pool of prompts in classes of equal value, the simplest prompts first.

    Args:
        pool: in order of simplicity.
        value: what makes a class.
        within: a donor always agrees with its reference in this.
    """

    def __init__(self, pool: Sequence[Prompt], value: Key, within: Key = anywhere) -> None:
        self._pool, self._value, self._within = pool, value, within
        self._parts: dict[Hashable, _Part] = {}
        for i, prompt in enumerate(pool):
            self._parts.setdefault(within(prompt), _Part()).add(i, value(prompt))

    def draw(self, rng: np.random.Generator, reference: Prompt, *, equal: bool) -> Prompt | None:
        """A prompt of the reference's class, or of any other; None if the pool has none."""
        part = self._parts.get(self._within(reference))
        if part is None:
            return None
        n = part.count(self._value(reference), equal)
        if n == 0:
            return None
        return self._pool[part.find(int(rng.integers(n)), self._value(reference), equal)]


class _Part:
    """Numbers of prompts in ascending order, and of those of each class."""

    def __init__(self) -> None:
        self._all: list[int] = []
        self._classes: dict[
            Any, list[int]
        ] = {}  # where in the list above the members of each class stand

    def add(self, number: int, value: Hashable) -> None:
        self._classes.setdefault(value, []).append(len(self._all))
        self._all.append(number)

    def count(self, value: Hashable, equal: bool) -> int:
        own = len(self._classes.get(value, ()))
        return own if equal else len(self._all) - own

    def find(self, nth: int, value: Hashable, equal: bool) -> int:
        """The nth of the class, or of all that are not in it."""
        own = self._classes.get(value, [])
        if equal:
            return self._all[own[nth]]
        before = np.asarray(own, np.int64) - np.arange(
            len(own)
        )  # how many of the others stand before each member
        return self._all[nth + int(np.searchsorted(before, nth, side="right"))]
