"""Fresh prompts as batches of one shape, tokenised without asking the tokenizer twice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from circuitgraph.errors import HypothesisError, check_at_least
from circuitgraph.hypotheses.prompt import Prompt
from circuitgraph.tasks.prompts import Pair, Prompts, TokenizerLike

BUCKET = 8  # lengths are rounded up to a multiple of this
_REMEMBERED = 20_000


class TokenCache:
    """What of the tokenizer's answers is asked for again and again: tokens' texts, and words'
    tokens.
    """

    def __init__(self, tokenizer: TokenizerLike) -> None:
        self.tokenizer = tokenizer
        self._texts: dict[int, str] = {}
        self.find_token = lru_cache(maxsize=_REMEMBERED)(self._find_token)
        self._cached_answers = lru_cache(maxsize=_REMEMBERED)(self._find_answers)

    def decode_token(self, token: int) -> str:
        """A token's text without the space before it."""
        if token not in self._texts:
            self._texts[token] = self.tokenizer.decode([token]).strip()
        return self._texts[token]

    def make_prompt(self, pair: Pair) -> Prompt:
        """The clean side of a pair."""
        ids = tuple(self.tokenizer.encode(pair.clean))
        return Prompt(pair, ids, tuple(self.decode_token(token) for token in ids))

    def make_plain_prompt(self, text: str) -> Prompt:
        """A prompt of which nothing is known but its text.

        Raises:
            HypothesisError: it is empty, or some of it is unknown to the tokenizer.
        """
        prompt = self.make_prompt(Pair(text, text, ""))
        unknown = self.tokenizer.unknown_id
        if not prompt.ids or (unknown is not None and unknown in prompt.ids):
            raise HypothesisError(
                f"The prompt {text!r} has no tokens, or some that the model does not know."
            )
        return prompt

    def _find_token(self, text: str) -> int:
        """The one token of a text."""
        ids = self.tokenizer.encode(text)
        if len(ids) != 1 or ids[0] == self.tokenizer.unknown_id:
            raise HypothesisError(
                f"{text!r} is no single token of the model: it has no probability of its own."
            )
        return ids[0]

    def find_answers(self, prompt: Prompt) -> tuple[int, int, tuple[int, ...], tuple[int, ...]]:
        """Answer and distractor (-1 if there is none) as tokens, and all right and wrong ones."""
        pair = prompt.pair
        return self._cached_answers(pair.answer, pair.distractor, pair.right, pair.wrong)

    def _find_answers(
        self, answer: str, distractor: str | None, right: tuple[str, ...], wrong: tuple[str, ...]
    ) -> tuple[int, int, tuple[int, ...], tuple[int, ...]]:
        first = self.find_token(answer)
        second = -1 if distractor is None else self.find_token(distractor)
        return first, second, tuple(map(self.find_token, right)), tuple(map(self.find_token, wrong))


@dataclass(frozen=True)
class Shape:
    """What batches are filled up to, so that they all have one shape.

    Attributes:
        length: tokens of a prompt; right, wrong: answers of a prompt, 0 if the task names no sets
            of them.
    """

    length: int
    right: int
    wrong: int

    @classmethod
    def of(cls, prompts: Sequence[Prompt]) -> Shape:
        """What these prompts need."""
        right, wrong = (
            _widest([getattr(p.pair, name) for p in prompts]) for name in ("right", "wrong")
        )
        return cls(bucket(max(map(len, prompts))), right, wrong)

    def union(self, other: Shape) -> Shape:
        """What both need."""
        return Shape(
            max(self.length, other.length),
            max(self.right, other.right),
            max(self.wrong, other.wrong),
        )


def assemble(prompts: Sequence[Prompt], tokens: TokenCache, shape: Shape) -> Prompts:
    """Prompts as one batch, as `tokenise` would give it but for the corrupted sides, which are the
    clean ones.

    Nothing that patches a drawn prompt reads its task's corrupted counterpart: donors take its
    place.
    """
    check_at_least("the number of prompts", len(prompts), 1)
    lengths = np.array([len(p.ids) for p in prompts])
    clean = filled([p.ids for p in prompts], shape.length, 0)
    found = [tokens.find_answers(prompt) for prompt in prompts]
    distractor = np.array([row[1] for row in found], np.int32)
    return Prompts(
        clean=clean,
        corrupted=clean,
        mask=np.arange(shape.length)[None, :] < lengths[:, None],
        score_at=lengths - 1,
        answer=np.array([row[0] for row in found], np.int32),
        distractor=None if (distractor < 0).any() else distractor,
        pairs=tuple(prompt.pair for prompt in prompts),
        right=filled([row[2] for row in found], shape.right, -1) if shape.right else None,
        wrong=filled([row[3] for row in found], shape.wrong, -1) if shape.wrong else None,
    )


def filled(rows: Sequence[Sequence[int]], width: int, with_: int) -> np.ndarray:
    """Rows as one array of that width."""
    found = np.full((len(rows), width), with_, np.int32)
    for to, row in zip(found, rows, strict=True):
        to[: len(row)] = row
    return found


def bucket(length: int) -> int:
    """The next multiple of `BUCKET`."""
    return -(-length // BUCKET) * BUCKET


def _widest(rows: Sequence[Sequence[str]]) -> int:
    """A power of two, so that hardly any other prompt needs more."""
    widest = max(map(len, rows))
    return 1 << (widest - 1).bit_length() if widest else 0
