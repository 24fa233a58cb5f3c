"""A prompt as the functions of a hypothesis see it: text, tokens, and positions with a name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from circuitgraph.tasks.prompts import Pair, TokenizerLike, encode_clean


@dataclass(frozen=True)
class Prompt:
    """One clean prompt of a task. Words have no leading space here, whatever the tokenizer does.

    Attributes:
        pair: the task's prompt, with its corrupted counterpart.
        ids: token ids.
        tokens: their texts.
    """

    pair: Pair
    ids: tuple[int, ...]
    tokens: tuple[str, ...]

    @property
    def text(self) -> str:
        """The text that the model reads."""
        return self.pair.clean

    @property
    def position(self) -> Mapping[str, int]:
        """Index of the token at each role."""
        return self.pair.roles

    @cached_property
    def token(self) -> Mapping[str, str]:
        """The token at each role, such as ``p.token["A1"]``."""
        return {role: self.tokens[index] for role, index in self.pair.roles.items()}

    @property
    def answer(self) -> str:
        """The text that should follow."""
        return (self.pair.answer or "").strip()

    @property
    def distractor(self) -> str | None:
        """A wrong answer, if the task has one."""
        return None if self.pair.distractor is None else self.pair.distractor.strip()

    @property
    def right(self) -> frozenset[str]:
        """Everything that may follow."""
        return frozenset(text.strip() for text in self.pair.right or (self.pair.answer or "",))

    def __len__(self) -> int:
        return len(self.ids)

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        """For hypothesis, which would print all fields of a dataclass."""
        printer.text(repr(self))

    def __repr__(self) -> str:
        roles = ", ".join(f"{role}={token}" for role, token in self.token.items() if token)
        return f"{self.text!r} ({roles})" if roles else repr(self.text)


def make_prompts(pairs: Sequence[Pair], tokenizer: TokenizerLike) -> list[Prompt]:
    """The clean sides of pairs."""
    ids = [encode_clean(pair, tokenizer) for pair in pairs]
    texts = {token: tokenizer.decode([token]).strip() for row in ids for token in row}
    return [
        Prompt(pair, tuple(row), tuple(texts[token] for token in row))
        for pair, row in zip(pairs, ids, strict=True)
    ]


def order_prompts(prompt: Prompt) -> tuple[int, str]:
    """A key that sorts the simplest prompts first: the shorter, then by their text."""
    return len(prompt), prompt.text
