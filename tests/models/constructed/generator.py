"""Random programs that can always be expressed, for hypothesis, which shrinks those that fail.

Functions are tables, so that a program prints as what it is. Categorical aggregates select among
positions by their
number, one for each query at most: they are defined on every prompt and under every intervention.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from itertools import product
from typing import Any

from hypothesis import strategies as st

from circuitgraph.errors import ProgramError
from circuitgraph.models.constructed.compile import Sizes
from circuitgraph.models.constructed.interpreter import answer
from circuitgraph.models.constructed.language import (
    Aggregate,
    Expression,
    Linear,
    Map,
    Map2,
    NumericalMap,
    Program,
    Select,
    Share,
    indices,
    selector_width,
    tokens,
)
from circuitgraph.models.constructed.values import domains

Draw = Callable[[st.SearchStrategy[Any]], Any]

ALPHABET = ("a", "b", "c")
LONGEST, SHORTEST = 5, 3
MOST_STEPS = 8
# Of all random models, so that one compiled program runs them all; the rare program that needs more
# is not drawn.
SIZES = Sizes(n_layers=5, n_heads=3, d_head=16, d_model=80, d_mlp=96, d_vocab=48, n_ctx=LONGEST + 1)
_LATEST = 4  # expressions that a new one may use
_SOME = list(product(ALPHABET, repeat=SHORTEST))
_MOST_PAIRS = 20  # of values, in two-argument maps
_MOST_NUMBERS = 40  # values of a numerical


@dataclass(frozen=True, eq=False)
class Table:
    """A function that is written down value by value."""

    rows: Mapping[Any, Hashable]

    def __call__(self, *given: Any) -> Any:
        (only,) = given if len(given) == 1 else (given,)
        return self.rows[only]

    def __repr__(self) -> str:
        return (
            "{"
            + ", ".join(f"{_plain(given)}: {_plain(value)}" for given, value in self.rows.items())
            + "}"
        )


@dataclass(frozen=True, eq=False)
class Matches:
    """A predicate: the pairs of key and query for which it is true."""

    pairs: frozenset[tuple[Any, Any]]

    def __call__(self, key: Any, query: Any) -> bool:
        return (key, query) in self.pairs

    def __repr__(self) -> str:
        return "{" + ", ".join(sorted(f"{key!r}~{query!r}" for key, query in self.pairs)) + "}"


def _plain(value: Any) -> str:
    return str(value) if isinstance(value, Fraction | tuple) else repr(value)


class _Writer:
    """A program in the making: what has been written so far, and what each of it can be."""

    def __init__(self, draw: Draw) -> None:
        self.draw = draw
        self.written: list[Expression] = [tokens, indices]
        self.values = {e: self.domain(e) for e in self.written}

    @staticmethod
    def domain(e: Expression) -> tuple[Any, ...]:
        return domains(Program(e, ALPHABET, LONGEST, SHORTEST))[e].values

    def pick(self, kind: str) -> Expression:
        """The symbols themselves, to which a failing program shrinks, or one of the latest
        expressions of a kind.
        """
        every = [e for e in self.written if e.kind == kind]
        first = [tokens] if kind == "categorical" and tokens not in every[-_LATEST:] else []
        return self.draw(st.sampled_from(first + every[-_LATEST:]))

    def add(self, e: Expression) -> None:
        """Keep an expression, unless it can have too many values."""
        try:
            values = self.domain(e)
        except ProgramError:
            return
        if e.kind == "categorical" or len(values) <= _MOST_NUMBERS:
            self.written.append(e)
            self.values[e] = values

    def program(self) -> Program:
        """The longest that has a head in it and does not always say the same; the first symbol if
        there is none.
        """
        every = [Program(e, ALPHABET, LONGEST, SHORTEST) for e in self.written]
        first = Matches(frozenset((0, query) for query in self.values[indices]))
        simplest = Aggregate(Select(indices, indices, first), tokens)
        chosen = [p for p in every if has_head(p) and answers_differ(p)]
        return max(chosen, key=_length, default=Program(simplest, ALPHABET, LONGEST, SHORTEST))

    def numbers(self) -> list[Expression]:
        return [e for e in self.written if e.kind == "numerical"]

    def outcomes(self, n: int, outcomes: list[Hashable]) -> list[Hashable]:
        return self.draw(st.lists(st.sampled_from(outcomes), min_size=n, max_size=n))

    def selector(self) -> Select:
        """Any selector at all."""
        keys, queries = self.pick("categorical"), self.pick("categorical")
        pairs = list(product(self.values[keys], self.values[queries]))
        chosen = self.outcomes(len(pairs), [False, True])
        return Select(
            keys,
            queries,
            Matches(frozenset(p for p, yes in zip(pairs, chosen, strict=True) if yes)),
        )

    # Steps

    def map(self) -> None:
        x = self.pick("categorical")
        values = self.outcomes(len(self.values[x]), ["p", "q", "r"])
        self.add(Map(Table(dict(zip(self.values[x], values, strict=True))), x))

    def number(self) -> None:
        x = self.pick("categorical")
        values = self.outcomes(len(self.values[x]), [0, 1])
        self.add(Map(Table(dict(zip(self.values[x], values, strict=True))), x, "numerical"))

    def map2(self) -> None:
        x, y = self.pick("categorical"), self.pick("categorical")
        pairs = list(product(self.values[x], self.values[y]))
        if len(pairs) <= _MOST_PAIRS:
            values = self.outcomes(len(pairs), ["p", "q", "r"])
            self.add(Map2(Table(dict(zip(pairs, values, strict=True))), x, y))

    def aggregate(self) -> None:
        queries, values = self.pick("categorical"), self.pick("categorical")
        targets = self.outcomes(len(self.values[queries]), list(range(LONGEST)))
        matched = Matches(frozenset(zip(targets, self.values[queries], strict=True)))
        self.add(Aggregate(Select(indices, queries, matched), values))

    def mean(self) -> None:
        if not self.numbers():
            self.number()
        self.add(Aggregate(self.selector(), self.pick("numerical")))

    def width(self) -> None:
        self.add(selector_width(self.selector()))

    def steps(self) -> None:
        if not self.numbers():
            return self.mean()
        x = self.pick("numerical")
        values = self.outcomes(len(self.values[x]), ["p", "q"])
        return self.add(
            NumericalMap(Table(dict(zip(self.values[x], values, strict=True))), x, "categorical")
        )

    def linear(self) -> None:
        if not self.numbers():
            return self.mean()
        factors = self.draw(st.tuples(st.sampled_from([1, -1, 2]), st.sampled_from([1, -1, 2])))
        return self.add(
            Linear(factors[0], self.pick("numerical"), factors[1], self.pick("numerical"))
        )


def has_head(program: Program) -> bool:
    """Whether the output depends on other positions at all."""
    return any(isinstance(e, Aggregate | Share) for e in program.expressions)


def _length(program: Program) -> int:
    return len(program.expressions)


def answers_differ(program: Program) -> bool:
    """Whether it says different things of some sequences."""
    return len({answer(program, sequence) for sequence in _SOME}) > 1


def random_program(draw: Draw) -> Program:
    """A program of up to about eight operations, one of them a selector at least.

    Args:
        draw: of `hypothesis.strategies.data`. (No strategy makes the whole program, because
            beartype uses the module random in what the package is asked meanwhile, which hypothesis
            does not allow in strategies.)
    """
    writer = _Writer(draw)
    for _ in range(draw(st.integers(1, MOST_STEPS))):
        draw(st.sampled_from(_STEPS))(writer)
    return writer.program()


_STEPS: list[Callable[[_Writer], None]] = [
    _Writer.aggregate,
    _Writer.width,
    _Writer.mean,
    _Writer.map,
    _Writer.map2,
    _Writer.steps,
    _Writer.number,
    _Writer.linear,
]
