"""From pairs as text to one padded batch of tokens, and everything that makes a pair unusable."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Int

from circuitgraph.errors import ArgumentError, DataError, list_problems
from circuitgraph.tasks.prompts import Pair, Prompts, TokenizerLike


def tokenise_pairs(pairs: Sequence[Pair], tokenizer: TokenizerLike) -> Prompts:
    """Tokenise pairs and pad them into one batch.

    Raises:
        DataError: listing every pair whose lengths differ or whose answers are not one token.
    """
    problems: list[str] = []
    for i, pair in enumerate(pairs):
        problems += [f"pair {i + 1}: {problem}" for problem in find_problems(pair, tokenizer)]
    if not pairs or problems:
        raise DataError(
            list_problems("These prompts cannot be used:", problems or ["there are none"])
        )
    clean = tokenizer.encode_all([p.clean for p in pairs])
    corrupted = tokenizer.encode_all([p.corrupted for p in pairs])
    lengths = np.array([len(ids) for ids in clean])
    # [1, pos] < [batch, 1]: True on the real tokens of each prompt, [batch, pos].
    mask = np.arange(lengths.max())[None, :] < lengths[:, None]
    distractors = [p.distractor for p in pairs if p.distractor is not None]
    if 0 < len(distractors) < len(pairs):
        raise ArgumentError("Either every pair has a distractor or none has.")
    return Prompts(
        clean=_pad_rows(clean, mask),
        corrupted=_pad_rows(corrupted, mask),
        mask=mask,
        score_at=lengths - 1,
        answer=_encode_answers([p.answer for p in pairs], tokenizer),
        distractor=_encode_answers(distractors, tokenizer) if distractors else None,
        pairs=tuple(pairs),
        right=_encode_sets([p.right for p in pairs], tokenizer),
        wrong=_encode_sets([p.wrong for p in pairs], tokenizer),
    )


def _pad_rows(
    rows: list[list[int]], mask: Bool[np.ndarray, "batch pos"]
) -> Int[np.ndarray, "batch pos"]:
    """Rows as one array; padding is token 0, which nothing reads because ``mask`` hides it."""
    tokens = np.zeros(mask.shape, np.int32)
    tokens[mask] = np.concatenate([np.asarray(row, np.int32) for row in rows])
    return tokens


def _encode_answers(texts: list[str], tokenizer: TokenizerLike) -> Int[np.ndarray, " batch"]:
    return np.array([tokenizer.encode(text)[0] for text in texts], np.int32)


def _encode_sets(
    sets: Sequence[tuple[str, ...]], tokenizer: TokenizerLike
) -> Int[np.ndarray, "batch n"] | None:
    """Token ids of sets of answers, each filled up with -1; None if no pair has a set."""
    if not any(sets):
        return None
    if not all(sets):
        raise ArgumentError("Either every pair names all its right and wrong answers or none does.")
    ids_of = {text: tokenizer.encode(text)[0] for texts in set(sets) for text in texts}
    ids = np.full((len(sets), max(map(len, sets))), -1, np.int32)
    for row, texts in zip(ids, sets, strict=True):
        row[: len(texts)] = [ids_of[text] for text in texts]
    return ids


# What makes a pair unusable


def find_problems(pair: Pair, tokenizer: TokenizerLike, n_ctx: int | None = None) -> list[str]:
    """Everything that makes one pair unusable, in words."""
    clean, corrupted = tokenizer.encode_all([pair.clean, pair.corrupted])
    problems = []
    if not clean:
        problems.append("the clean prompt is empty")
    if len(clean) != len(corrupted):
        problems.append(
            f"clean has {len(clean)} tokens, corrupted {len(corrupted)}; they must be equally long"
        )
    if n_ctx is not None and max(len(clean), len(corrupted)) > n_ctx:
        problems.append(
            f"{max(len(clean), len(corrupted))} tokens exceed the model's context of {n_ctx}"
        )
    for name, ids in (("clean", clean), ("corrupted", corrupted)):
        unknown = [str(i + 1) for i, token in enumerate(ids) if token == tokenizer.unknown_id]
        if unknown:
            words = getattr(pair, name).split()
            problems.append(
                f"{name}: unknown token at position {_shorten_list(unknown, 5, ', ')} of "
                f"{_shorten_list(words, 8, ' ')!r}"
            )
    return problems + _find_answer_problems(pair, tokenizer)


def _find_answer_problems(pair: Pair, tokenizer: TokenizerLike) -> list[str]:
    problems = []
    for name, text in (("answer", pair.answer), ("distractor", pair.distractor)):
        if text is not None:
            problems += _check_one_token(name, text, tokenizer)
    for text in dict.fromkeys(pair.right + pair.wrong):
        problems += _check_one_token("one of several answers", text, tokenizer)
    if pair.right and pair.answer not in pair.right:
        problems.append(f"the answer {pair.answer!r} is not among the right ones")
    if both := set(pair.right) & set(pair.wrong):
        problems.append(f"{sorted(both)} are called right and wrong")
    if pair.answer == pair.distractor:
        problems.append(f"answer and distractor are both {pair.answer!r}")
    return problems


def _check_one_token(name: str, text: str, tokenizer: TokenizerLike) -> list[str]:
    """A problem, if an answer is not one token that the tokenizer knows."""
    ids = tokenizer.encode(text)
    if ids == [tokenizer.unknown_id]:
        return [f"{name} {text!r} is an unknown token"]
    if len(ids) == 1:
        return []
    spaced = f" {text.strip()}"
    remedy = ""
    if len(tokenizer.encode(spaced)) == 1:
        remedy = f"; {spaced!r}, with a leading space, would be one"
    return [f"{name} {text!r} is {len(ids)} tokens, but must be one{remedy}"]


def _shorten_list(items: Sequence[str], most: int, between: str) -> str:
    return between.join(items[:most]) + (" ..." if len(items) > most else "")
