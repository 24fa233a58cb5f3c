"""What grammars write prompts from: words of one token each, and pieces that may have roles."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import TypeVar

from circuitgraph.choices import Choices
from circuitgraph.errors import DataError
from circuitgraph.tasks.prompts import TokenizerLike

Item = TypeVar("Item")
Piece = str | tuple[str, str]  # a text, or a role and its text


def split_words(text: str) -> list[str]:
    """The words of a text, each with a leading space, so that they can be joined into a prompt."""
    return [f" {word}" for word in text.split()]


def pick_item(rng: Choices, items: Sequence[Item]) -> Item:
    """One of the items, each equally likely."""
    return items[int(rng.integers(len(items)))]


def select_one_token(
    words: Sequence[str], tokenizer: TokenizerLike, what: str, needed: int
) -> tuple[list[str], list[str]]:
    """The words that the tokenizer writes as one known token, and a note naming the others, if any.

    Args:
        words: words with their leading space, where a prompt has one.
        what: what the words are, in the plural, for messages.
        needed: how many words a task cannot do without.

    Raises:
        DataError: fewer words than needed are one token.
    """
    encoded = tokenizer.encode_all(list(words)) if words else []
    selected = [
        word
        for word, ids in zip(words, encoded, strict=True)
        if len(ids) == 1 and ids[0] != tokenizer.unknown_id
    ]
    dropped = [word.strip() for word in words if word not in selected]
    if len(selected) < needed:
        others = ", ".join(dropped[:8]) + (" ..." if len(dropped) > 8 else "")
        raise DataError(
            f"Only {len(selected)} of {len(words)} {what} are one token of this tokenizer, but "
            f"{needed} are needed. Not one token: {others}. Use a model whose vocabulary has them."
        )
    note = f"Left out, being more than one token: {what} {', '.join(dropped)}."
    return selected, [note] if dropped else []


def list_single_token_words(tokenizer: TokenizerLike, limit: int = 2000) -> list[str]:
    """Lower-case words that are one token after a space, the first ``limit`` in the vocabulary.

    Each is returned with that space, so that they can be joined into a prompt.
    """
    ids = tokenizer.vocabulary()
    words: list[str] = []
    # A few thousand tokens at a time: the first words of a large vocabulary are enough.
    for start in range(0, len(ids), 4096):
        texts = [tokenizer.decode([i]).strip() for i in ids[start : start + 4096]]
        candidates = [
            f" {text}" for text in texts if len(text) > 1 and text.isalpha() and text.islower()
        ]
        encoded = tokenizer.encode_all(candidates) if candidates else []
        words += [
            word for word, tokens in zip(candidates, encoded, strict=True) if len(tokens) == 1
        ]
        if len(words) >= limit:
            break
    return list(dict.fromkeys(words))[:limit]


def join_pieces(pieces: Sequence[Piece], tokenizer: TokenizerLike) -> tuple[str, dict[str, int]]:
    """The text of some pieces, and for each role the position of the last token of its piece.

    Tokens are counted in the text up to the end of a piece, so that this holds for every tokenizer
    whose tokens end where the pieces with roles end.
    """
    texts = [piece if isinstance(piece, str) else piece[1] for piece in pieces]
    prefixes = list(accumulate(texts))
    role_ends = [
        (piece[0], prefix)
        for piece, prefix in zip(pieces, prefixes, strict=True)
        if not isinstance(piece, str)
    ]
    encoded = tokenizer.encode_all([prefix for _, prefix in role_ends]) if role_ends else []
    positions = {role: len(ids) - 1 for (role, _), ids in zip(role_ends, encoded, strict=True)}
    return prefixes[-1], positions
