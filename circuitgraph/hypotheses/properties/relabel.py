"""Relabellings: words that a task treats alike change places in a prompt and its answers."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import overload

from circuitgraph.choices import Choices
from circuitgraph.errors import HypothesisError
from circuitgraph.hypotheses.prompt import Prompt
from circuitgraph.hypotheses.properties.tokens import TokenCache
from circuitgraph.tasks.base import Task, Words

MOST_EXCHANGES = 4
WORD = re.compile(r"[^\W\d_]+")


@dataclass(frozen=True)
class Relabelling:
    """A map of words to words that can be undone, to be called on a text or a prompt.

    Attributes:
        mapping: of words without their space; those that stay are not in it.
    """

    mapping: Mapping[str, str] = field(hash=False)
    tokens: TokenCache = field(repr=False, compare=False)

    @overload
    def __call__(self, what: Prompt) -> Prompt: ...
    @overload
    def __call__(self, what: str) -> str: ...
    def __call__(self, what: Prompt | str) -> Prompt | str:
        """The text or prompt with words exchanged.

        Raises:
            HypothesisError: it is neither prompt nor text.
        """
        if isinstance(what, Prompt):
            if what not in self._relabelled:
                self._relabelled[what] = self._relabel_prompt(what)
            return self._relabelled[what]
        if isinstance(what, str):
            return WORD.sub(lambda match: self.mapping.get(match[0], match[0]), what)
        raise HypothesisError(f"relabel takes a prompt or a text, not {what!r}.")

    @cached_property
    def _relabelled(self) -> dict[Prompt, Prompt]:
        return {}

    def _relabel_text(self, text: str | None) -> str | None:
        return None if text is None else self(text)

    def _relabel_prompt(self, prompt: Prompt) -> Prompt:
        if not self.mapping:
            return prompt
        pair = prompt.pair
        relabelled = self.tokens.make_prompt(
            replace(
                pair,
                clean=self(pair.clean),
                corrupted=self._relabel_text(pair.corrupted),
                answer=self._relabel_text(pair.answer),
                distractor=self._relabel_text(pair.distractor),
                right=tuple(map(self, pair.right)),
                wrong=tuple(map(self, pair.wrong)),
            )
        )
        if len(relabelled) != len(prompt):
            raise HypothesisError(
                f"Relabelling {self} changes the number of tokens of {prompt!r}: words of one "
                "group must be one token each wherever they stand. Mend the task's `words`."
            )
        return relabelled

    def __str__(self) -> str:
        return ", ".join(f"{old} -> {new}" for old, new in self.mapping.items()) or "nothing"


class Relabeller:
    """Draws relabellings of prompts.

    Raises:
        HypothesisError: the task names no words that are alike.
    """

    def __init__(self, task: Task, tokens: TokenCache) -> None:
        self._groups = list_word_groups(task)
        if not any(self._groups):
            raise HypothesisError(
                f"Task {task.name!r} names no words that it treats alike, so there is no relabel: "
                "give its Source words={'names': [...]}, or write the property without relabel."
            )
        self._tokens = tokens
        self._index = {
            form: (group, i)
            for group, words in enumerate(self._groups)
            for i, forms in enumerate(words)
            for form in forms
        }

    def draw_relabelling(self, rng: Choices, prompts: Sequence[Prompt]) -> Relabelling:
        """Up to `MOST_EXCHANGES` exchanges of a word of these prompts for one of its group."""
        known = list(
            dict.fromkeys(w for p in prompts for w in WORD.findall(p.text) if w in self._index)
        )
        mapping: dict[str, str] = {}
        for _ in range(int(rng.integers(MOST_EXCHANGES + 1)) if known else 0):
            group, old = self._index[known[int(rng.integers(len(known)))]]
            words = self._groups[group]
            new = int(rng.integers(len(words)))
            if new == old or any(form in mapping for form in (*words[old], *words[new])):
                continue  # each word changes places once, so that the map can be read
            for form, other in zip(words[old], words[new], strict=True):
                mapping[form], mapping[other] = other, form
        return Relabelling(mapping, self._tokens)


def list_word_groups(task: Task) -> list[list[tuple[str, ...]]]:
    """The words that a task treats alike, in groups, each as its forms without their space."""
    words: Words = getattr(task, "words", {})
    return [[_strip_forms(word) for word in group] for group in words.values()]


def _strip_forms(word: str | tuple[str, ...]) -> tuple[str, ...]:
    return tuple(form.strip() for form in ((word,) if isinstance(word, str) else word))
