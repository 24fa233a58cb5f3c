"""Relabellings: words that a task treats alike change places, throughout a prompt and its answers."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import overload

import numpy as np

from circuitgraph.errors import HypothesisError
from circuitgraph.hypotheses.prompt import Prompt
from circuitgraph.hypotheses.properties.tokens import Tokens
from circuitgraph.tasks.base import Task, Words

MOST_EXCHANGES = 4
WORD = re.compile(r"[^\W\d_]+")


@dataclass(frozen=True)
class Relabelling:
    """A map of words to words that can be undone. Called on a text or a prompt, it gives the one
    with words exchanged.

    Attributes:
        mapping: of words without their space; those that stay are not in it.
    """

    mapping: Mapping[str, str] = field(hash=False)
    tokens: Tokens = field(repr=False, compare=False)

    @overload
    def __call__(self, what: Prompt) -> Prompt: ...
    @overload
    def __call__(self, what: str) -> str: ...
    def __call__(self, what: Prompt | str) -> Prompt | str:
        """The same with words exchanged.

        Raises:
            HypothesisError: it is neither prompt nor text.
        """
        if isinstance(what, Prompt):
            return (
                self._known.setdefault(what, self._prompt(what))
                if what not in self._known
                else self._known[what]
            )
        if isinstance(what, str):
            return WORD.sub(lambda found: self.mapping.get(found[0], found[0]), what)
        raise HypothesisError(f"relabel takes a prompt or a text, not {what!r}.")

    @cached_property
    def _known(self) -> dict[Prompt, Prompt]:
        return {}

    def _prompt(self, prompt: Prompt) -> Prompt:
        if not self.mapping:
            return prompt
        pair = prompt.pair
        exchanged = self.tokens.prompt(
            replace(
                pair,
                clean=self(pair.clean),
                corrupted=self(pair.corrupted),
                answer=self(pair.answer),
                distractor=None if pair.distractor is None else self(pair.distractor),
                right=tuple(map(self, pair.right)),
                wrong=tuple(map(self, pair.wrong)),
            )
        )
        if len(exchanged) != len(prompt):
            raise HypothesisError(
                f"Relabelling {self} changes the number of tokens of {prompt!r}: words of one group "
                "must be one token each wherever they stand. Mend the task's `words`."
            )
        return exchanged

    def __str__(self) -> str:
        shown = [f"{old} -> {new}" for old, new in self.mapping.items()]
        return ", ".join(shown) or "nothing"


class Relabeller:
    """Draws relabellings of prompts.

    Raises:
        HypothesisError: the task names no words that are alike.
    """

    def __init__(self, task: Task, tokens: Tokens) -> None:
        self._groups = groups_of(task)
        if not any(self._groups):
            raise HypothesisError(
                f"Task {task.name!r} names no words that it treats alike, so there is no relabel: "
                "give its Source words={'names': [...]}, or write the property without relabel."
            )
        self._tokens = tokens
        self._place = {
            form: (group, i)
            for group, items in enumerate(self._groups)
            for i, forms in enumerate(items)
            for form in forms
        }

    def draw(self, rng: np.random.Generator, prompts: Sequence[Prompt]) -> Relabelling:
        """Up to `MOST_EXCHANGES` exchanges, each of a word of these prompts for any other of its
        group.
        """
        there = list(
            dict.fromkeys(w for p in prompts for w in WORD.findall(p.text) if w in self._place)
        )
        mapping: dict[str, str] = {}
        for _ in range(int(rng.integers(MOST_EXCHANGES + 1)) if there else 0):
            group, old = self._place[there[int(rng.integers(len(there)))]]
            items = self._groups[group]
            new = int(rng.integers(len(items)))
            if new == old or any(form in mapping for form in (*items[old], *items[new])):
                continue  # each word changes places once, so that the map can be read
            for one, other in zip(items[old], items[new], strict=True):
                mapping[one], mapping[other] = other, one
        return Relabelling(mapping, self._tokens)


def groups_of(task: Task) -> list[list[tuple[str, ...]]]:
    """The words that a task treats alike, group by group, each with its forms without their space."""
    words: Words = getattr(task, "words", {})
    return [[_forms(item) for item in group] for group in words.values()]


def _forms(item: str | tuple[str, ...]) -> tuple[str, ...]:
    """The forms of a word that a task names, without their space."""
    return tuple(form.strip() for form in ((item,) if isinstance(item, str) else item))
