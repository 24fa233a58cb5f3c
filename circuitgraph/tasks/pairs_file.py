"""A user's own task: a file of pairs, no code written."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from circuitgraph.errors import DataError, check_at_least
from circuitgraph.tasks.base import Task, Words
from circuitgraph.tasks.pair_lines import PairFile, read_pair_file
from circuitgraph.tasks.pair_maker import ModelSizes, PairMaker
from circuitgraph.tasks.pair_problems import list_mixed_parts
from circuitgraph.tasks.prompts import (
    SPLITS,
    Pair,
    Split,
    TokenizerLike,
    assign_split,
    encode_answer,
    encode_clean,
    encode_pair,
    quote_tokens,
)

_N_SHOWN = 24  # tokens of a prompt that a message shows


class PairsTask(Task):
    """The pairs of a file; `split_of` decides the split of each clean prompt, the seed only their
    order.

    A pair that the file holds twice counts once. Roles are what a line names: a token by its number
    from 0 (-1 is the last), or a text by where it ends, if the clean prompt has it once. The last
    token has the role ``end``.
    """

    def __init__(
        self,
        path: str | Path,
        tokenizer: TokenizerLike,
        sizes: ModelSizes | int,
        seed: int = 0,
        *,
        file: PairFile | None = None,
        chat: bool = False,
        judging: bool = True,
    ) -> None:
        """Read and check the whole file.

        Args:
            sizes: of the model; a number is its context alone.
            file: what the file says, if it was read before.
            chat: render both prompts by the tokenizer's chat template, as what a user says.
            judging: keep some pairs for evaluation; else all are for discovery.

        Raises:
            DataError: listing every unusable line by its number.
        """
        self.path, self.judging = Path(path), judging
        self.name = self.path.stem
        self.seed, self.tokenizer = check_at_least("seed", seed, 0), tokenizer
        file = file or read_pair_file(self.path)
        sizes = ModelSizes(sizes) if isinstance(sizes, int) else sizes
        maker = PairMaker(tokenizer, sizes, chat, file.header.score_at)
        self.numbered_pairs = _make_pairs(self.path, file, maker)
        self._pairs = list(dict.fromkeys(pair for _, pair in self.numbered_pairs))
        self._splits = [self._assign_split(pair) for pair in self._pairs]
        self._check_counts()
        self.metric = file.header.metric or _choose_metric(self._pairs[0])
        self.words: Words = {
            name: [word if isinstance(word, str) else tuple(word) for word in group]
            for name, group in file.header.words.items()
        }
        self.notes = (*file.notes, *_describe_answers(self._pairs, tokenizer))
        self.arguments = {
            "data": str(self.path),
            "sha256": hashlib.sha256(file.sha256_of.encode()).hexdigest(),
            **_list_settings(chat, judging),
        }

    def count_pairs(self, split: Split) -> int | None:
        return len(self.list_pairs(split))

    def pairs(self, n: int, split: Split) -> list[Pair]:
        available = self.list_pairs(split)
        if n > len(available):
            raise DataError(
                f"{str(self.path)!r} has {len(self._pairs)} pairs, {len(available)} of them for "
                f"{split}, but {n} were asked for. Add lines or ask for fewer."
            )
        return available[:n]

    def list_pairs(self, split: Split) -> list[Pair]:
        """All pairs of that split, in the order in which they are handed out."""
        splits = zip(self._pairs, self._splits, strict=True)
        pairs = [pair for pair, pair_split in splits if pair_split == split]
        order = np.random.default_rng([self.seed, len(pairs)]).permutation(len(pairs))
        return [pairs[i] for i in order]

    def _assign_split(self, pair: Pair) -> Split:
        # by the text's own tokens: with and without BOS a prompt is of the same split
        own = encode_clean(pair, self.tokenizer)[len(self.tokenizer.prefix) :]
        return assign_split(own) if self.judging else "discovery"

    def _check_counts(self) -> None:
        counts = {split: len({pair.clean for pair in self.list_pairs(split)}) for split in SPLITS}
        if self.judging and min(counts.values()) < 2:
            numbers = " and ".join(f"{n} to {split}" for split, n in counts.items())
            raise DataError(
                f"The data file {str(self.path)!r} is too small. Each clean prompt goes to "
                f"discovery or to evaluation, as by a coin; here {numbers}, but each needs two "
                "different ones. Add lines: about ten will do. Or search on all of them and judge "
                "on none: --no-judging, judging=False."
            )


def _make_pairs(path: Path, file: PairFile, maker: PairMaker) -> list[tuple[int, Pair]]:
    """The pairs of all lines with their numbers; every unusable line is a problem of the error."""
    numbered: list[tuple[int, Pair]] = []
    problems = list(file.problems)
    for number, line in file.lines:
        pair, pair_problems = maker.make_pair(line)
        problems += [f"line {number}: {problem}" for problem in pair_problems]
        numbered.append((number, pair))
    if any(pair.right for _, pair in numbered):
        numbered = [(number, _fill_sets(pair)) for number, pair in numbered]
    if not problems:
        problems = [
            f"some lines have {part} and some have none; give all or none"
            for part in list_mixed_parts([pair for _, pair in numbered])
        ]
        problems += _find_words_problems(file, maker.tokenizer)
    tokens = ""
    if problems and numbered and numbered[0][1].clean:
        number, pair = numbered[0]
        ids = encode_clean(pair, maker.tokenizer)[:_N_SHOWN]
        tokens = f" The tokens of line {number} are {quote_tokens(ids, maker.tokenizer)}."
    file.refuse_problems(path, problems, tokens)
    return numbered


def _fill_sets(pair: Pair) -> Pair:
    """The pair of one answer as one of several that happen to be one, as other lines have."""
    if pair.right or pair.answer is None:
        return pair
    tokens = pair.tokens
    if tokens is not None:
        tokens = replace(tokens, right=tokens.answer, wrong=tokens.distractor)
    wrong = () if pair.distractor is None else (pair.distractor,)
    return replace(pair, right=(pair.answer,), wrong=wrong, tokens=tokens)


def _find_words_problems(file: PairFile, tokenizer: TokenizerLike) -> list[str]:
    """Words that are treated alike must be one token each, or nothing can be exchanged."""
    groups = file.header.words.items()
    forms = [
        (n, w) for n, g in groups for item in g for w in ([item] if isinstance(item, str) else item)
    ]
    return [
        f"words.{name}: {word!r} is not one token"
        for name, word in forms
        if len(tokenizer.encode(word)) != 1 and len(tokenizer.encode(f" {word}")) != 1
    ]


def _choose_metric(pair: Pair) -> str:
    if pair.distractor is not None:
        return "logit_difference"
    return "kl" if pair.answer is None else "log_probability"


def _list_settings(chat: bool, judging: bool) -> dict[str, Any]:
    """What differs from the defaults, so that records of today stay as they are."""
    settings = {"chat": True} if chat else {}
    return settings if judging else {**settings, "judging": False}


def _describe_answers(pairs: list[Pair], tokenizer: TokenizerLike) -> list[str]:
    """Notes on answers that may not be what their author meant."""
    notes = []
    n_tokens = [len(encode_pair(pair, tokenizer).answer) for pair in pairs]
    if max(n_tokens) > 1:
        notes.append(
            f"Answers have up to {max(n_tokens)} tokens: each token is scored after those before "
            "it, and the metric puts them together."
        )
    spaced = [pair for pair in pairs if _is_read_with_space(pair, tokenizer)]
    if spaced:
        answer = spaced[0].answer or ""
        notes.append(
            f"{len(spaced)} of {len(pairs)} answers were read with a space in front, such as "
            f"{answer!r} as {' ' + answer!r}."
        )
    unspaced = [pair for pair in pairs if _lacks_space(pair, tokenizer)]
    if unspaced:
        pair = unspaced[0]
        notes.append(
            f"{len(unspaced)} of {len(pairs)} answers follow a word without a space, such as "
            f"{pair.answer!r} after {pair.clean[-20:]!r}. If they are words of their own, write "
            f"{' ' + (pair.answer or '')!r}."
        )
    return notes


def _is_read_with_space(pair: Pair, tokenizer: TokenizerLike) -> bool:
    """Whether an answer is no token after the prompt unless it is written with a space."""
    if not pair.answer or pair.tokens:
        return False
    return tokenizer.encode_answer(pair.clean, pair.answer) != encode_answer(
        pair.clean, pair.answer, tokenizer
    )


def _lacks_space(pair: Pair, tokenizer: TokenizerLike) -> bool:
    """Whether an answer goes on inside a word, though with a space it would be a token too."""
    if not pair.answer or pair.tokens or not (pair.clean[-1:] + pair.answer[:1]).isalpha():
        return False
    own = tokenizer.encode_answer(pair.clean, pair.answer)
    spaced = tokenizer.encode_answer(pair.clean, f" {pair.answer}")
    return len(own) == len(spaced) == 1 and own != spaced
