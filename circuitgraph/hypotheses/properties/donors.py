"""Donors: other prompts with an equal or another value of a variable.

A donor is looked up by its number in a list of prompts in classes. No prompt is tried and refused.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Any

import numpy as np

from circuitgraph.choices import Choices
from circuitgraph.hypotheses.program import Program, make_key
from circuitgraph.hypotheses.prompt import Prompt

Key = Callable[[Prompt], Hashable]


def layout_key(prompt: Prompt) -> Hashable:
    """Equal for prompts of one length whose roles stand at the same positions."""
    return len(prompt), tuple(sorted(prompt.position.items()))


def constant_key(prompt: Prompt) -> Hashable:
    """Equal for all prompts."""
    del prompt
    return ()


def value_key(program: Program, variable: str) -> Key:
    """A key that is equal where the value of a variable is equal."""
    return lambda prompt: make_key(program.compute_values(prompt)[variable])


class DonorPool:
    """Prompts in classes of equal value, the simplest prompts first.

    Args:
        prompts: in order of simplicity.
        class_key: what makes a class.
        shared_key: a donor always agrees with its reference in this.
    """

    def __init__(
        self, prompts: Sequence[Prompt], class_key: Key, shared_key: Key = constant_key
    ) -> None:
        self._prompts, self._class_key, self._shared_key = prompts, class_key, shared_key
        self._groups: dict[Hashable, _Group] = {}
        for i, prompt in enumerate(prompts):
            self._groups.setdefault(shared_key(prompt), _Group()).add_prompt(i, class_key(prompt))

    def draw_donor(self, rng: Choices, reference: Prompt, *, equal: bool) -> Prompt | None:
        """A prompt of the reference's class, or of any other; None if the pool has none."""
        group = self._groups.get(self._shared_key(reference))
        if group is None:
            return None
        value = self._class_key(reference)
        n = group.count_donors(value, equal)
        if n == 0:
            return None
        return self._prompts[group.find_donor(int(rng.integers(n)), value, equal)]


class _Group:
    """Prompts that can be each other's donors: their numbers in ascending order, class by class."""

    def __init__(self) -> None:
        self._numbers: list[int] = []
        self._members: dict[Any, list[int]] = {}  # of each class: indices into the list above

    def add_prompt(self, number: int, value: Hashable) -> None:
        self._members.setdefault(value, []).append(len(self._numbers))
        self._numbers.append(number)

    def count_donors(self, value: Hashable, equal: bool) -> int:
        n_equal = len(self._members.get(value, ()))
        return n_equal if equal else len(self._numbers) - n_equal

    def find_donor(self, nth: int, value: Hashable, equal: bool) -> int:
        """The number of the nth prompt of the class, or of the nth that is not in it."""
        members = self._members.get(value, [])
        if equal:
            return self._numbers[members[nth]]
        # How many prompts outside the class stand before each member of it.
        outside = np.asarray(members, np.int64) - np.arange(len(members))
        return self._numbers[nth + int(np.searchsorted(outside, nth, side="right"))]
