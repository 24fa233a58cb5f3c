"""Words for prompts: which of a list, or of a tokenizer's vocabulary, are one token."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from circuitgraph.choices import Choices
from circuitgraph.errors import DataError
from circuitgraph.tasks.base import TokenizerLike

Item = TypeVar("Item")


def spaced(text: str) -> list[str]:
    """The words of a text, each with a leading space, so that they can be joined into a prompt."""
    return [f" {word}" for word in text.split()]


def pick(rng: Choices, items: Sequence[Item]) -> Item:
    """One of the items, each equally likely."""
    return items[int(rng.integers(len(items)))]


def one_token(
    words: Sequence[str], tokenizer: TokenizerLike, what: str, needed: int
) -> tuple[list[str], list[str]]:
    """Those of ``words`` that the tokenizer writes as one known token, and a note naming the
    others, if any.

    Args:
        words: with their leading space, where a prompt has one.
        what: they are, in the plural, for messages.
        needed: how many a task cannot do without.

    Raises:
        DataError: fewer than that are left.
    """
    ids = tokenizer.encode_all(list(words)) if words else []
    kept = [
        word
        for word, own in zip(words, ids, strict=True)
        if len(own) == 1 and own[0] != tokenizer.unknown_id
    ]
    dropped = [word.strip() for word in words if word not in kept]
    if len(kept) < needed:
        others = ", ".join(dropped[:8]) + (" ..." if len(dropped) > 8 else "")
        raise DataError(
            f"Only {len(kept)} of {len(words)} {what} are one token of this tokenizer, but {needed} "
            f"are needed. Not one token: {others}. Use a model whose vocabulary has them."
        )
    return kept, [
        f"Left out, being more than one token: {what} {', '.join(dropped)}."
    ] if dropped else []


def single_token_words(tokenizer: TokenizerLike, limit: int = 2000) -> list[str]:
    """Lower-case words that the tokenizer writes as one token after a space, the first ``limit`` of
    its list.

    Each is returned with that space, so that they can be joined into a prompt.
    """
    ids = tokenizer.vocabulary()
    found: list[str] = []
    for start in range(0, len(ids), 4096):
        texts = [tokenizer.decode([i]).strip() for i in ids[start : start + 4096]]
        spaced = [
            f" {text}" for text in texts if len(text) > 1 and text.isalpha() and text.islower()
        ]
        tokens = tokenizer.encode_all(spaced) if spaced else []
        found += [text for text, t in zip(spaced, tokens, strict=True) if len(t) == 1]
        if len(found) >= limit:
            break
    return list(dict.fromkeys(found))[:limit]
