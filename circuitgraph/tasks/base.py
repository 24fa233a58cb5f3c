"""Tasks: sources of clean/corrupted pairs with answers, and the decorator for grammars."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, get_type_hints

import numpy as np

from circuitgraph.choices import Choices
from circuitgraph.errors import DataError, check_at_least, check_between, unknown_name
from circuitgraph.foreign import convert_settings
from circuitgraph.registry import Registry, read_summary
from circuitgraph.tasks.prompts import SPLITS, Pair, Prompts, Split, TokenizerLike, assign_split
from circuitgraph.tasks.tokenise import tokenise_pairs

MOST_PROMPTS = 1_000_000  # at once
_LEAST_RUN, _RUN_FOR_EACH = 1_000, 20  # draws without a new prompt after which there is none
Draw = Callable[[Choices], Pair]
Words = Mapping[str, Sequence[str | tuple[str, ...]]]


class Task(ABC):
    """A source of pairs for one model. Discovery and evaluation never share a clean prompt.

    Attributes:
        name: name of the grammar or file.
        metric: name of the default metric.
        seed: seed of all draws.
        arguments: what the source was made with, for the record.
        notes: what a user should know, such as names that were left out.
        words: groups of words that the task treats alike; see `Source`.
    """

    name: str
    metric: str
    seed: int
    arguments: Mapping[str, Any]
    notes: tuple[str, ...] = ()
    tokenizer: TokenizerLike
    words: Words

    @abstractmethod
    def pairs(self, n: int, split: Split) -> list[Pair]:
        """``n`` different pairs of that split, the same for the same seed.

        Raises:
            DataError: the source has fewer.
        """

    @abstractmethod
    def count_pairs(self, split: Split) -> int | None:
        """How many pairs of that split there are; None if there is no end of them."""

    def prompts(self, n: int, split: Split = "discovery") -> Prompts:
        """``n`` pairs of that split, tokenised."""
        check_between("the number of prompts", n, 1, MOST_PROMPTS)
        if split not in SPLITS:
            raise unknown_name("split", split, SPLITS)
        return tokenise_pairs(self.pairs(n, split), self.tokenizer)


class GrammarTask(Task):
    """Pairs drawn from a grammar; `assign_split` decides the split of each, whatever the seed.

    Attributes:
        source: the grammar, made for this tokenizer.
    """

    def __init__(
        self, kind: TaskKind, tokenizer: TokenizerLike, seed: int, arguments: Mapping[str, Any]
    ) -> None:
        self.name, self.metric, self.seed, self.tokenizer = kind.name, kind.metric, seed, tokenizer
        self.arguments = kind.fill_arguments(arguments)
        source = kind.grammar(tokenizer, **self.arguments)
        if tokenizer.prefix:  # a grammar counts the text's own tokens
            source = replace(source, draw=_shift_roles(source.draw, len(tokenizer.prefix)))
        self.source, self.notes, self.words = source, source.notes, source.words

    def count_pairs(self, split: Split) -> int | None:
        return None

    def pairs(self, n: int, split: Split) -> list[Pair]:
        rng = np.random.default_rng([check_at_least("seed", self.seed, 0), SPLITS.index(split)])
        pairs: dict[tuple[int, ...], Pair] = {}  # by the clean prompt's tokens
        n_old = 0  # draws since the last new prompt
        for _ in range(100 + 20 * n):
            pair = self.source.draw(rng)
            tokens = tuple(self.tokenizer.encode(pair.clean))
            is_new = assign_split(tokens) == split and tokens not in pairs
            if is_new:
                pairs[tokens] = pair
            if len(pairs) == n:
                return list(pairs.values())
            n_old = 0 if is_new else n_old + 1
            # Were there one more, as likely as the others, it would have come by now.
            if n_old > _LEAST_RUN + _RUN_FOR_EACH * len(pairs):
                break
        raise DataError(
            f"Task {self.name!r} has {len(pairs)} different {split} prompts, as far as drawing "
            f"shows ({n_old:,} draws gave no new one), where {n} were asked for. Ask for fewer, or "
            "widen the grammar's arguments."
        )


@dataclass(frozen=True)
class Source:
    """A grammar made for one tokenizer: a function that draws pairs, notes for its user, words.

    Attributes:
        words: groups of words that the task treats alike: exchange two words of a group throughout
            a prompt, its answers included, and the prompt is as good. Each word is one token, or a
            tuple of forms (singular, plural) that change places together.
    """

    draw: Draw
    notes: tuple[str, ...] = ()
    words: Words = field(default_factory=dict)


Grammar = Callable[..., Source]


@dataclass(frozen=True)
class TaskKind:
    """A registered grammar, with the shipped models (``model``, ``also``) that have learned it."""

    name: str
    grammar: Grammar
    metric: str
    model: str | None
    also: tuple[str, ...] = ()

    @property
    def description(self) -> str:
        """The summary of the grammar's docstring."""
        return read_summary(self.grammar)

    def fill_arguments(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """The grammar's arguments and its defaults.

        Raises:
            UnknownNameError: an argument that the grammar does not have.
            ArgumentError: one of another type than the grammar's hint.
        """
        parameters = list(inspect.signature(self.grammar).parameters.values())[1:]
        defaults = {p.name: p.default for p in parameters}
        kind = f"argument of task {self.name!r}"
        return defaults | convert_settings(kind, defaults, self._read_hints(), arguments)

    def _read_hints(self) -> dict[str, Any]:
        """The types of the grammar's arguments, as far as they can be told."""
        try:
            return get_type_hints(self.grammar)
        except NameError:  # a hint that only type checkers import
            return {}


def _shift_roles(draw: Draw, by: int) -> Draw:
    """The same pairs, with their roles where the prefix moves them."""

    def draw_shifted(rng: Choices) -> Pair:
        pair = draw(rng)
        return replace(pair, roles={role: at + by for role, at in pair.roles.items()})

    return draw_shifted


tasks: Registry[TaskKind] = Registry("task", "circuitgraph.tasks")


def task(
    name: str, *, metric: str, model: str | None = None, also: tuple[str, ...] = ()
) -> Callable[[Grammar], Grammar]:
    """Register a grammar: a function from a tokenizer and options to a `Source` of pairs.

    Args:
        name: name of the task.
        metric: name of the default metric.
        model: the shipped model that the command line takes by default.
        also: other shipped models that have learned the task.
    """

    def decorate(grammar: Grammar) -> Grammar:
        tasks.add(name, TaskKind(name, grammar, metric, model, also))
        return grammar

    return decorate
