"""From pairs as text to one padded batch of tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Int

from circuitgraph.errors import ArgumentError, DataError, list_problems
from circuitgraph.tasks.pair_problems import find_problems, list_mixed_parts
from circuitgraph.tasks.prompts import Pair, PairTokens, Prompts, TokenizerLike, encode_pair

Scores = Literal["tokens", "positions"]


@dataclass(frozen=True)
class _Row:
    """One prompt with the tokens of its answer before the last, which the model reads too.

    Attributes:
        at: the scored positions; ``answers`` and ``distractors`` have a token for each, or none.
    """

    clean: tuple[int, ...]
    corrupted: tuple[int, ...]
    at: tuple[int, ...]
    answers: tuple[int, ...]
    distractors: tuple[int, ...]


def tokenise_pairs(pairs: Sequence[Pair], tokenizer: TokenizerLike) -> Prompts:
    """Tokenise pairs and pad them into one batch.

    Raises:
        DataError: listing every pair whose lengths differ or whose answers cannot be scored.
        ArgumentError: some pairs have a counterpart, an answer, a distractor or several scored
            positions, and some have none.
    """
    tokens = [encode_pair(pair, tokenizer) for pair in pairs]
    problems: list[str] = []
    for i, (pair, ids) in enumerate(zip(pairs, tokens, strict=True)):
        problems += [f"pair {i + 1}: {p}" for p in find_problems(pair, tokenizer, ids=ids)]
    if not pairs or problems:
        raise DataError(
            list_problems("These prompts cannot be used:", problems or ["there are none"])
        )
    for part in list_mixed_parts(pairs):
        raise ArgumentError(f"Either every pair has {part} or none has.")
    scores = _choose_scores(pairs, tokens)
    rows = [_make_row(pair, ids) for pair, ids in zip(pairs, tokens, strict=True)]
    return _pad_batch(rows, tuple(pairs), tokens, scores)


def _choose_scores(pairs: Sequence[Pair], tokens: Sequence[PairTokens]) -> Scores | None:
    if any(len(pair.score_at or ()) > 1 for pair in pairs):
        return "positions"
    return "tokens" if any(len(ids.answer) > 1 for ids in tokens) else None


def _make_row(pair: Pair, ids: PairTokens) -> _Row:
    at = (len(ids.clean) - 1,) if pair.score_at is None else pair.score_at
    if pair.score_at is not None and pair.answer is None:
        following = tuple(ids.clean[i + 1] for i in at if i + 1 < len(ids.clean))
        answers = following if len(following) == len(at) else ()
        return _Row(ids.clean, ids.corrupted, at, answers, ())
    given = ids.answer[:-1]  # each token of the answer is scored after those before it
    at = tuple(at[0] + i for i in range(max(1, len(ids.answer))))
    corrupted = ids.corrupted and (*ids.corrupted, *given)
    return _Row((*ids.clean, *given), corrupted, at, ids.answer, ids.distractor)


def _pad_batch(
    rows: Sequence[_Row],
    pairs: tuple[Pair, ...],
    tokens: Sequence[PairTokens],
    scores: Scores | None,
) -> Prompts:
    lengths = np.array([len(row.clean) for row in rows])
    # [1, pos] < [batch, 1]: True on the real tokens of each prompt, [batch, pos].
    mask = np.arange(lengths.max())[None, :] < lengths[:, None]
    weights = None if scores is None else _make_weights([len(row.at) for row in rows], scores)

    score_at = _pad_scored([row.at for row in rows], scores)
    assert score_at is not None  # noqa: S101 - every row has a scored position
    return Prompts(
        clean=pad_rows([row.clean for row in rows], mask),
        corrupted=pad_rows([row.corrupted for row in rows], mask) if rows[0].corrupted else None,
        mask=mask,
        score_at=score_at,
        answer=_pad_scored([row.answers for row in rows], scores),
        distractor=_pad_scored([row.distractors for row in rows], scores),
        pairs=pairs,
        right=_pad_sets([ids.right for ids in tokens]),
        wrong=_pad_sets([ids.wrong for ids in tokens]),
        scores=scores,
        weights=weights,
    )


def _pad_scored(
    values: list[tuple[int, ...]], scores: Scores | None
) -> Int[np.ndarray, "batch *scored"] | None:
    """Filled up with the last of each; one axis where one position is scored."""
    if not all(values):
        return None
    most = max(map(len, values))
    padded = [[*row, *[row[-1]] * (most - len(row))] for row in values]
    return np.array(padded if scores else [row[0] for row in values], np.int32)


def _make_weights(counts: list[int], scores: Scores) -> Float[np.ndarray, "batch scored"]:
    n_scored = np.array(counts)[:, None]
    counts_at_all = np.arange(max(counts))[None, :] < n_scored
    return (counts_at_all / (n_scored if scores == "positions" else 1)).astype(np.float32)


def pad_rows(
    rows: Sequence[Sequence[int]], mask: Bool[np.ndarray, "batch pos"]
) -> Int[np.ndarray, "batch pos"]:
    """Rows as one array; padding is token 0, which nothing reads because ``mask`` hides it."""
    tokens = np.zeros(mask.shape, np.int32)
    tokens[mask] = np.concatenate([np.asarray(row, np.int32) for row in rows])
    return tokens


def _pad_sets(sets: Sequence[tuple[int, ...]]) -> Int[np.ndarray, "batch n"] | None:
    """Token ids of sets of answers, each filled up with -1; None if no pair has a set."""
    if not any(sets):
        return None
    if not all(sets):
        raise ArgumentError("Either every pair names all its right and wrong answers or none does.")
    ids = np.full((len(sets), max(map(len, sets))), -1, np.int32)
    for row, tokens in zip(ids, sets, strict=True):
        row[: len(tokens)] = tokens
    return ids
