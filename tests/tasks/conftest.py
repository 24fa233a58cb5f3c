"""A tokenizer small enough to work with by hand."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from circuitgraph.models.tokenizer import Bos


class Words:
    """One token per word, written as tokenizers that keep the leading space write it."""

    unknown_id: int | None = 0
    special_ids: frozenset[int] = frozenset({0})
    prefix: tuple[int, ...] = ()

    def __init__(self, words: Sequence[str]) -> None:
        self.words = ["<unk>", *words]

    def encode(self, text: str) -> list[int]:
        return [self.words.index(word) if word in self.words else 0 for word in text.split()]

    def encode_all(self, texts: Sequence[str]) -> list[list[int]]:
        return [self.encode(text) for text in texts]

    def encode_answer(self, prompt: str, answer: str) -> list[int]:
        del prompt  # words are tokens wherever they stand
        return self.encode(answer)

    def decode_answer(self, token: int) -> str:
        return self.words[token]

    def with_bos(self, bos: Bos) -> Words:
        assert bos != "yes"
        return self

    def render_chat(self, text: str) -> str:
        return f"{self.words[1]} {text}"

    def decode(self, ids: Sequence[int]) -> str:
        return " ".join(self.words[i] for i in ids)

    def vocabulary(self) -> list[int]:
        return list(range(1, len(self.words)))


@pytest.fixture(scope="session")
def words() -> Words:
    """Forty words."""
    letters = "bcdfghjk"
    return Words([f"{a}a{b}o" for a in letters for b in letters[:5]])
