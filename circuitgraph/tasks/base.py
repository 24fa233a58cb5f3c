"""A task: clean/corrupted prompt pairs with answers, in an unlimited seeded supply."""

from __future__ import annotations

import hashlib
import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Int

from circuitgraph.choices import Choices
from circuitgraph.errors import (
    ArgumentError,
    DataError,
    check_at_least,
    list_problems,
    unknown_name,
)
from circuitgraph.registry import Registry

Split = Literal["discovery", "evaluation"]
SPLITS: tuple[Split, ...] = ("discovery", "evaluation")


@runtime_checkable
class TokenizerLike(Protocol):
    """What a task needs of a tokenizer: no token is added that is not in the text."""

    unknown_id: int | None
    special_ids: frozenset[int]

    def encode(self, text: str) -> list[int]: ...
    def encode_all(self, texts: Sequence[str]) -> list[list[int]]: ...
    def decode(self, ids: Sequence[int]) -> str: ...
    def vocabulary(self) -> list[int]: ...


@dataclass(frozen=True)
class Pair:
    """One prompt and its corrupted counterpart, as text.

    Attributes:
        answer: what should follow the clean prompt; one token, with its leading space if it has
            one.
        distractor: what follows the corrupted prompt, or another wrong answer; one token, or None.
        roles: token position of each named place in the clean prompt.
        right, wrong: where more than one token is right: all of them, ``answer`` among them, and
            all that are wrong.
    """

    clean: str
    corrupted: str
    answer: str
    distractor: str | None = None
    roles: Mapping[str, int] = field(default_factory=dict, hash=False)
    right: tuple[str, ...] = ()
    wrong: tuple[str, ...] = ()


@dataclass(frozen=True)
class Prompts:
    """A batch of tokenised pairs, padded on the right to one length.

    Attributes:
        mask: True on real tokens; clean and corrupted have equal lengths, so one mask serves both.
        score_at: the position whose logits are scored: the last real token.
        answer: token id of each answer; distractor: likewise, or None if the pairs have none.
        pairs: the texts.
        right, wrong: token ids of all right and all wrong answers, filled up with -1; None if the
            pairs name none.
    """

    clean: Int[np.ndarray, "batch pos"]
    corrupted: Int[np.ndarray, "batch pos"]
    mask: Bool[np.ndarray, "batch pos"]
    score_at: Int[np.ndarray, " batch"]
    answer: Int[np.ndarray, " batch"]
    distractor: Int[np.ndarray, " batch"] | None
    pairs: tuple[Pair, ...]
    right: Int[np.ndarray, "batch right"] | None = None
    wrong: Int[np.ndarray, "batch wrong"] | None = None

    def __len__(self) -> int:
        return len(self.pairs)

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the tokens and answers."""
        digest = hashlib.sha256()
        for array in (self.clean, self.corrupted, self.mask, self.answer, self.distractor):
            digest.update(
                b"none" if array is None else np.ascontiguousarray(array).astype(np.int64).tobytes()
            )
        for array in (self.right, self.wrong):
            if array is not None:
                digest.update(np.ascontiguousarray(array).astype(np.int64).tobytes())
        return digest.hexdigest()


class Task(ABC):
    """A source of pairs for one model. Discovery and evaluation never share a clean prompt.

    Attributes:
        name: of the grammar or file.
        metric: name of the default metric.
        seed: of all that is drawn.
        arguments: what the source was made with, for the record.
        notes: what its user should know, such as names that were left out.
    """

    name: str
    metric: str
    seed: int
    arguments: Mapping[str, Any]
    notes: tuple[str, ...] = ()
    tokenizer: TokenizerLike

    @abstractmethod
    def pairs(self, n: int, split: Split) -> list[Pair]:
        """``n`` different pairs of that split, the same for the same seed.

        Raises:
            DataError: the source has fewer.
        """

    @abstractmethod
    def supply(self, split: Split) -> int | None:
        """How many pairs of that split there are; None if more than anybody will ask for."""

    def prompts(self, n: int, split: Split = "discovery") -> Prompts:
        """``n`` pairs of that split, tokenised."""
        check_at_least("the number of prompts", n, 1)
        if split not in SPLITS:
            raise unknown_name("split", split, SPLITS)
        return tokenise(self.pairs(n, split), self.tokenizer)


class GrammarTask(Task):
    """Pairs drawn from a grammar; `split_of` decides the split of each, whatever the seed.

    Attributes:
        source: the grammar, made for this tokenizer.
    """

    def __init__(
        self, kind: TaskKind, tokenizer: TokenizerLike, seed: int, arguments: Mapping[str, Any]
    ) -> None:
        self.name, self.metric, self.seed, self.tokenizer = kind.name, kind.metric, seed, tokenizer
        self.arguments = kind.effective(arguments)
        self.source = kind.grammar(tokenizer, **self.arguments)
        self.notes = self.source.notes

    @property
    def words(self) -> Words:
        """Words that the grammar treats alike; see `Source`."""
        return self.source.words

    def supply(self, split: Split) -> int | None:
        return None

    def pairs(self, n: int, split: Split) -> list[Pair]:
        rng = np.random.default_rng([check_at_least("seed", self.seed, 0), SPLITS.index(split)])
        found: dict[tuple[int, ...], Pair] = {}
        for _ in range(100 + 20 * n):
            pair = self.source.draw(rng)
            tokens = tuple(self.tokenizer.encode(pair.clean))
            if split_of(tokens) == split:
                found.setdefault(tokens, pair)
            if len(found) == n:
                return list(found.values())
        raise DataError(
            f"Task {self.name!r} yielded only {len(found)} different {split} prompts where {n} were "
            "asked for. Ask for fewer, or widen the grammar's arguments."
        )


def split_of(tokens: Sequence[int]) -> Split:
    """The split that a clean prompt belongs to: a coin that depends on its tokens only.

    So no seed, no longer file and no other source ever judges a circuit on prompts that it was
    searched with.
    """
    return SPLITS[hashlib.sha256(np.asarray(tokens, np.int64).tobytes()).digest()[0] % 2]


Draw = Callable[[Choices], Pair]
Words = Mapping[str, Sequence[str | tuple[str, ...]]]


@dataclass(frozen=True)
class Source:
    """What a grammar is for one tokenizer: a function that draws one pair, and what its user should
    know.

    Attributes:
        words: groups of words that the task treats alike: exchange two of a group throughout a
            prompt, its answers included, and it is as good a prompt. Each is one token, or a tuple
            of forms (singular, plural) that change places together.
    """

    draw: Draw
    notes: tuple[str, ...] = ()
    words: Words = field(default_factory=dict)


Grammar = Callable[..., Source]


@dataclass(frozen=True)
class TaskKind:
    """A registered grammar. ``model`` is the shipped model that it is meant for, ``also`` others
    that know it.
    """

    name: str
    grammar: Grammar
    metric: str
    model: str | None
    also: tuple[str, ...] = ()

    @property
    def description(self) -> str:
        """First line of the grammar's docstring."""
        return (inspect.getdoc(self.grammar) or "").partition("\n")[0]

    def effective(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """The grammar's arguments with defaults filled in; unknown ones raise `UnknownNameError`."""
        parameters = list(inspect.signature(self.grammar).parameters.values())[1:]
        known = {p.name: p.default for p in parameters}
        for name in arguments:
            if name not in known:
                raise unknown_name(f"argument of task {self.name!r}", name, known)
        return {**known, **arguments}


tasks: Registry[TaskKind] = Registry("task", "circuitgraph.tasks")


def task(
    name: str, *, metric: str, model: str | None = None, also: tuple[str, ...] = ()
) -> Callable[[Grammar], Grammar]:
    """Register a grammar: a function from a tokenizer and options to a `Source` of pairs.

    Args:
        name: of the task.
        metric: its default metric.
        model: the shipped model that the command line takes for it by default.
        also: other shipped models that have learned it.
    """

    def decorate(grammar: Grammar) -> Grammar:
        tasks.add(name, TaskKind(name, grammar, metric, model, also))
        return grammar

    return decorate


def tokenise(pairs: Sequence[Pair], tokenizer: TokenizerLike) -> Prompts:
    """Pad pairs into one batch.

    Raises:
        DataError: listing every pair whose lengths differ or whose answers are not one token.
    """
    problems: list[str] = []
    for i, pair in enumerate(pairs):
        problems += [f"pair {i + 1}: {problem}" for problem in problems_of(pair, tokenizer)]
    if not pairs or problems:
        raise DataError(
            list_problems("These prompts cannot be used:", problems or ["there are none"])
        )
    clean = tokenizer.encode_all([p.clean for p in pairs])
    corrupted = tokenizer.encode_all([p.corrupted for p in pairs])
    lengths = np.array([len(ids) for ids in clean])
    mask = np.arange(lengths.max())[None, :] < lengths[:, None]
    distractors = [p.distractor for p in pairs if p.distractor is not None]
    if 0 < len(distractors) < len(pairs):
        raise ArgumentError("Either every pair has a distractor or none has.")
    return Prompts(
        clean=_padded(clean, mask),
        corrupted=_padded(corrupted, mask),
        mask=mask,
        score_at=lengths - 1,
        answer=_single([p.answer for p in pairs], tokenizer),
        distractor=_single(distractors, tokenizer) if distractors else None,
        pairs=tuple(pairs),
        right=_sets([p.right for p in pairs], tokenizer),
        wrong=_sets([p.wrong for p in pairs], tokenizer),
    )


def problems_of(pair: Pair, tokenizer: TokenizerLike, n_ctx: int | None = None) -> list[str]:
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
        unknown = [i + 1 for i, token in enumerate(ids) if token == tokenizer.unknown_id]
        if unknown:
            words = getattr(pair, name).split()
            problems.append(
                f"{name}: unknown token at position {_places(unknown)} of {_shorten(words)!r}"
            )
    for name, text in (("answer", pair.answer), ("distractor", pair.distractor)):
        if text is not None:
            problems += _answer_problems(name, text, tokenizer)
    for text in dict.fromkeys(pair.right + pair.wrong):
        problems += _answer_problems("one of several answers", text, tokenizer)
    if pair.right and pair.answer not in pair.right:
        problems.append(f"the answer {pair.answer!r} is not among the right ones")
    if both := set(pair.right) & set(pair.wrong):
        problems.append(f"{sorted(both)} are called right and wrong")
    if pair.answer == pair.distractor:
        problems.append(f"answer and distractor are both {pair.answer!r}")
    return problems


def _answer_problems(name: str, text: str, tokenizer: TokenizerLike) -> list[str]:
    ids = tokenizer.encode(text)
    if ids == [tokenizer.unknown_id]:
        return [f"{name} {text!r} is an unknown token"]
    if len(ids) == 1:
        return []
    spaced = f" {text.strip()}"
    remedy = (
        f"; {spaced!r}, with a leading space, would be one"
        if len(tokenizer.encode(spaced)) == 1
        else ""
    )
    return [f"{name} {text!r} is {len(ids)} tokens, but must be one{remedy}"]


def _places(places: list[int]) -> str:
    return ", ".join(map(str, places[:5])) + (" ..." if len(places) > 5 else "")


def _shorten(words: list[str]) -> str:
    return " ".join(words[:8]) + (" ..." if len(words) > 8 else "")


def _padded(
    rows: list[list[int]], mask: Bool[np.ndarray, "batch pos"]
) -> Int[np.ndarray, "batch pos"]:
    """Rows as one array; padding is token 0, which nothing reads because ``mask`` hides it."""
    padded = np.zeros(mask.shape, np.int32)
    padded[mask] = np.concatenate([np.asarray(row, np.int32) for row in rows])
    return padded


def _single(texts: list[str], tokenizer: TokenizerLike) -> Int[np.ndarray, " batch"]:
    return np.array([tokenizer.encode(text)[0] for text in texts], np.int32)


def _sets(
    sets: Sequence[tuple[str, ...]], tokenizer: TokenizerLike
) -> Int[np.ndarray, "batch n"] | None:
    """Token ids of sets of answers, each filled up with -1; None if no pair has any."""
    if not any(sets):
        return None
    if not all(sets):
        raise ArgumentError("Either every pair names all its right and wrong answers or none does.")
    known = {text: tokenizer.encode(text)[0] for texts in set(sets) for text in texts}
    ids = np.full((len(sets), max(map(len, sets))), -1, np.int32)
    for row, texts in zip(ids, sets, strict=True):
        row[: len(texts)] = [known[text] for text in texts]
    return ids
