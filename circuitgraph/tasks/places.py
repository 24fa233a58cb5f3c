"""Prompts put together from pieces, with the token positions of the pieces that have a name."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

from circuitgraph.tasks.base import TokenizerLike

Piece = str | tuple[str, str]


def placed(pieces: Sequence[Piece], tokenizer: TokenizerLike) -> tuple[str, dict[str, int]]:
    """The text of some pieces, and the position of the last token of each piece that is a pair
    (role, text).

    Tokens are counted in the text up to the end of a piece, so that this holds for every tokenizer
    whose tokens end where the named pieces end.
    """
    texts = [piece if isinstance(piece, str) else piece[1] for piece in pieces]
    so_far = list(accumulate(texts))
    named = [(piece[0], so_far[i]) for i, piece in enumerate(pieces) if not isinstance(piece, str)]
    tokens = tokenizer.encode_all([text for _, text in named]) if named else []
    return so_far[-1], {role: len(ids) - 1 for (role, _), ids in zip(named, tokens, strict=True)}
