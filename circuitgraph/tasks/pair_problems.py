"""Everything that makes a pair unusable, in words."""

from __future__ import annotations

from collections.abc import Sequence

from circuitgraph.tasks.prompts import Pair, PairTokens, TokenizerLike, encode_answer, encode_pair

_N_SHOWN = 12  # tokens of a prompt's end that a message shows


def find_problems(
    pair: Pair,
    tokenizer: TokenizerLike,
    n_ctx: int | None = None,
    *,
    ids: PairTokens | None = None,
    in_text: bool = False,
) -> list[str]:
    """Everything that makes one pair unusable, in words.

    Args:
        n_ctx: the model's context.
        ids: the pair's tokens, if they are known already.
        in_text: as for files, whose author sees no tokens: refuse an answer that is no
            continuation of the clean prompt's own tokens, and two sides that are the same.
    """
    ids, problems = ids or encode_pair(pair, tokenizer), []
    if len(ids.clean) == len(tokenizer.prefix):
        problems.append("the clean prompt is empty")
    if pair.corrupted is not None and len(ids.clean) != len(ids.corrupted):
        problems.append(
            f"clean has {len(ids.clean)} tokens, corrupted {len(ids.corrupted)}; they must be "
            "equally long"
        )
    if in_text and ids.clean == ids.corrupted:
        problems.append(
            "the corrupted prompt is the clean one, so that nothing can be measured; leave it out "
            "for ablations that need none (mean, zero)"
        )
    longest = max(len(ids.clean), len(ids.corrupted)) + max(0, len(ids.answer) - 1)
    if n_ctx is not None and longest > n_ctx:
        problems.append(f"{longest} tokens exceed the model's context of {n_ctx}")
    problems += _find_unknown_tokens("clean", pair.clean, ids.clean, tokenizer)
    problems += _find_unknown_tokens("corrupted", pair.corrupted or "", ids.corrupted, tokenizer)
    problems += _find_answer_problems(pair, ids, tokenizer, in_text and pair.tokens is None)
    return problems + _find_score_problems(pair, ids)


def list_mixed_parts(pairs: Sequence[Pair]) -> list[str]:
    """What some of the pairs have and some have not, though all or none must have it."""
    has = {
        "a corrupted prompt": [pair.corrupted is not None for pair in pairs],
        "an answer": [pair.answer is not None for pair in pairs],
        "a distractor": [pair.distractor is not None for pair in pairs],
        "several scored positions": [len(pair.score_at or ()) > 1 for pair in pairs],
    }
    return [part for part, flags in has.items() if any(flags) and not all(flags)]


def _find_unknown_tokens(
    name: str, text: str, ids: Sequence[int], tokenizer: TokenizerLike
) -> list[str]:
    ids = ids[len(tokenizer.prefix) :]
    unknown = [str(i + 1) for i, token in enumerate(ids) if token == tokenizer.unknown_id]
    if not unknown:
        return []
    return [
        f"{name}: unknown token at position {_shorten_list(unknown, 5, ', ')} of "
        f"{_shorten_list(text.split(), 8, ' ')!r}"
    ]


def _find_answer_problems(
    pair: Pair, ids: PairTokens, tokenizer: TokenizerLike, in_text: bool
) -> list[str]:
    problems = []
    for name, text, tokens in (
        ("answer", pair.answer, ids.answer),
        ("distractor", pair.distractor, ids.distractor),
    ):
        if text is not None:
            if in_text:
                tokens = tuple(encode_answer(pair.clean, text, tokenizer, in_text=True))
            problems += _check_answer(name, text, tokens, pair, tokenizer)
    if not problems and ids.distractor and len(ids.answer) != len(ids.distractor):
        problems.append(
            f"the answer {pair.answer!r} has {len(ids.answer)} tokens, the distractor "
            f"{pair.distractor!r} {len(ids.distractor)}; they must have equally many"
        )
    problems += _find_set_problems(pair, ids, tokenizer, in_text)
    if pair.right and pair.answer not in pair.right:
        problems.append(f"the answer {pair.answer!r} is not among the right ones")
    if both := set(pair.right) & set(pair.wrong):
        problems.append(f"{sorted(both)} are called right and wrong")
    if pair.answer is not None and pair.answer == pair.distractor:
        problems.append(f"answer and distractor are both {pair.answer!r}")
    if pair.distractor is not None and pair.answer is None:
        problems.append("there is a distractor, but no answer")
    return problems


def _find_set_problems(
    pair: Pair, ids: PairTokens, tokenizer: TokenizerLike, in_text: bool
) -> list[str]:
    """What is wrong with several right and wrong answers, each of which must be one token."""
    tokens = ids.right + ids.wrong
    complete = len(tokens) == len(pair.right + pair.wrong) and tokenizer.unknown_id not in tokens
    if complete and not in_text:
        return []
    problems = []
    for text in dict.fromkeys(pair.right + pair.wrong):
        own = encode_answer(pair.clean, text, tokenizer, in_text=in_text)
        if len(own) > 1 and tokenizer.unknown_id not in own:
            problems.append(f"one of several answers, {text!r}, is {len(own)} tokens, not one")
        else:
            problems += _check_answer("one of several answers,", text, own, pair, tokenizer)
    return problems


def _check_answer(
    name: str, text: str, tokens: Sequence[int], pair: Pair, tokenizer: TokenizerLike
) -> list[str]:
    """A problem, if an answer does not follow the prompt in tokens that the model knows."""
    if tokenizer.unknown_id in tokens:
        return [f"{name} {text!r} is an unknown token" + _suggest_space(text, pair, tokenizer)]
    if len(tokens) == 1:
        return []
    remedy = _suggest_space(text, pair, tokenizer)
    if tokens and not remedy:
        return []  # an answer of several tokens
    if tokens:
        pieces = ", ".join(repr(tokenizer.decode([token])) for token in tokens)
        return [f"{name} {text!r} is {len(tokens)} tokens, {pieces}{remedy}"]
    if pair.clean != pair.clean.rstrip():
        remedy = "; the prompt ends with a space, which belongs to the answer: move it there"
    elif not text:
        remedy = "; it is empty"
    shown = tokenizer.decode(tokenizer.encode(pair.clean + text)[-_N_SHOWN:])
    return [
        f"{name} {text!r} does not follow the clean prompt as tokens of its own: in {shown!r} it "
        f"changes the prompt's last token{remedy or '; give its token id'}"
    ]


def _suggest_space(text: str, pair: Pair, tokenizer: TokenizerLike) -> str:
    spaced = f" {text.strip()}"
    ids = tokenizer.encode_answer(pair.clean, spaced)
    if spaced == text or len(ids) != 1 or ids == [tokenizer.unknown_id]:
        return ""
    return f"; {spaced!r}, with a leading space, would be one"


def _find_score_problems(pair: Pair, ids: PairTokens) -> list[str]:
    at = pair.score_at
    if at is None:
        return []
    problems = [
        f"score_at: there is no token {i}; the clean prompt has {len(ids.clean)}"
        for i in at
        if not 0 <= i < len(ids.clean)
    ]
    if not at:
        problems.append("score_at names no position")
    if len(at) > 1 and pair.answer is not None:
        problems.append(
            "several positions are scored, whose answers are the prompt's own next tokens, but "
            f"there is an answer, {pair.answer!r}: leave one of the two out"
        )
    if len(ids.answer) > 1 and pair.answer is not None and at != (len(ids.clean) - 1,):
        problems.append(f"the answer {pair.answer!r} has several tokens: score it at the end")
    return problems


def _shorten_list(items: Sequence[str], most: int, between: str) -> str:
    return between.join(items[:most]) + (" ..." if len(items) > most else "")
