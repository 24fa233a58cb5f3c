"""Random programs that can always be expressed, for hypothesis, which shrinks those that fail.

Functions are tables, so that a program prints as what it is. Categorical aggregates select
positions by their number, one for each query at most: they are defined on every prompt and under
every intervention.
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
from circuitgraph.models.constructed.interpreter import compute_answer
from circuitgraph.models.constructed.rasp import (
    Aggregate,
    Expression,
    Linear,
    Map,
    Map2,
    NumericalMap,
    Select,
    Share,
    indices,
    selector_width,
    tokens,
)
from circuitgraph.models.constructed.rasp_program import RaspProgram
from circuitgraph.models.constructed.values import find_domains

Draw = Callable[[st.SearchStrategy[Any]], Any]

ALPHABET = ("a", "b", "c")
LONGEST, SHORTEST = 5, 3
MOST_STEPS = 8
# Of all random models, so that jax compiles one function for them all; the rare program that needs
# a larger model is not drawn.
SIZES = Sizes(n_layers=5, n_heads=3, d_head=16, d_model=80, d_mlp=96, d_vocab=48, n_ctx=LONGEST + 1)
_LATEST = 4  # expressions that a new one may use
_SOME = list(product(ALPHABET, repeat=SHORTEST))
_MOST_PAIRS = 20  # of values, in two-argument maps
_MOST_NUMBERS = 40  # values of a numerical


@dataclass(frozen=True, eq=False)
class Table:
    """A function that is written down value by value."""

    rows: Mapping[Any, Hashable]

    def __call__(self, *arguments: Any) -> Any:
        (key,) = arguments if len(arguments) == 1 else (arguments,)
        return self.rows[key]

    def __repr__(self) -> str:
        rows = [f"{_as_text(key)}: {_as_text(value)}" for key, value in self.rows.items()]
        return "{" + ", ".join(rows) + "}"


@dataclass(frozen=True, eq=False)
class Matches:
    """A predicate: the pairs of key and query for which it is true."""

    pairs: frozenset[tuple[Any, Any]]

    def __call__(self, key: Any, query: Any) -> bool:
        return (key, query) in self.pairs

    def __repr__(self) -> str:
        return "{" + ", ".join(sorted(f"{key!r}~{query!r}" for key, query in self.pairs)) + "}"


def _as_text(value: Any) -> str:
    return str(value) if isinstance(value, Fraction | tuple) else repr(value)


class _ProgramBuilder:
    """A program in the making.

    Attributes:
        expressions: those so far.
        values: the values that each of them can have.
    """

    def __init__(self, draw: Draw) -> None:
        self.draw = draw
        self.expressions: list[Expression] = [tokens, indices]
        self.values = {e: self.find_values(e) for e in self.expressions}

    @staticmethod
    def find_values(e: Expression) -> tuple[Any, ...]:
        return find_domains(RaspProgram(e, ALPHABET, LONGEST, SHORTEST))[e].values

    def pick_expression(self, kind: str) -> Expression:
        """One of the latest expressions of a kind, or the symbols themselves.

        A failing program shrinks to the symbols.
        """
        every = [e for e in self.expressions if e.kind == kind]
        first = [tokens] if kind == "categorical" and tokens not in every[-_LATEST:] else []
        return self.draw(st.sampled_from(first + every[-_LATEST:]))

    def add_expression(self, e: Expression) -> None:
        """Add an expression, unless it can have too many values."""
        try:
            values = self.find_values(e)
        except ProgramError:
            return
        if e.kind == "categorical" or len(values) <= _MOST_NUMBERS:
            self.expressions.append(e)
            self.values[e] = values

    def finish_program(self) -> RaspProgram:
        """The longest program with a head whose answers differ; else, the first symbol."""
        every = [RaspProgram(e, ALPHABET, LONGEST, SHORTEST) for e in self.expressions]
        first = Matches(frozenset((0, query) for query in self.values[indices]))
        simplest = Aggregate(Select(indices, indices, first), tokens)
        candidates = [p for p in every if has_head(p) and answers_differ(p)]
        return max(
            candidates,
            key=_count_expressions,
            default=RaspProgram(simplest, ALPHABET, LONGEST, SHORTEST),
        )

    def list_numericals(self) -> list[Expression]:
        return [e for e in self.expressions if e.kind == "numerical"]

    def draw_outcomes(self, n: int, outcomes: list[Hashable]) -> list[Hashable]:
        return self.draw(st.lists(st.sampled_from(outcomes), min_size=n, max_size=n))

    def draw_selector(self) -> Select:
        """Any selector at all."""
        keys, queries = self.pick_expression("categorical"), self.pick_expression("categorical")
        pairs = list(product(self.values[keys], self.values[queries]))
        chosen = self.draw_outcomes(len(pairs), [False, True])
        return Select(
            keys,
            queries,
            Matches(frozenset(p for p, yes in zip(pairs, chosen, strict=True) if yes)),
        )

    # Steps

    def add_map(self) -> None:
        x = self.pick_expression("categorical")
        values = self.draw_outcomes(len(self.values[x]), ["p", "q", "r"])
        self.add_expression(Map(Table(dict(zip(self.values[x], values, strict=True))), x))

    def add_number(self) -> None:
        x = self.pick_expression("categorical")
        values = self.draw_outcomes(len(self.values[x]), [0, 1])
        self.add_expression(
            Map(Table(dict(zip(self.values[x], values, strict=True))), x, "numerical")
        )

    def add_map2(self) -> None:
        x, y = self.pick_expression("categorical"), self.pick_expression("categorical")
        pairs = list(product(self.values[x], self.values[y]))
        if len(pairs) <= _MOST_PAIRS:
            values = self.draw_outcomes(len(pairs), ["p", "q", "r"])
            self.add_expression(Map2(Table(dict(zip(pairs, values, strict=True))), x, y))

    def add_aggregate(self) -> None:
        queries, values = self.pick_expression("categorical"), self.pick_expression("categorical")
        targets = self.draw_outcomes(len(self.values[queries]), list(range(LONGEST)))
        matched = Matches(frozenset(zip(targets, self.values[queries], strict=True)))
        self.add_expression(Aggregate(Select(indices, queries, matched), values))

    def add_mean(self) -> None:
        if not self.list_numericals():
            self.add_number()
        self.add_expression(Aggregate(self.draw_selector(), self.pick_expression("numerical")))

    def add_width(self) -> None:
        self.add_expression(selector_width(self.draw_selector()))

    def add_steps(self) -> None:
        if not self.list_numericals():
            return self.add_mean()
        x = self.pick_expression("numerical")
        values = self.draw_outcomes(len(self.values[x]), ["p", "q"])
        return self.add_expression(
            NumericalMap(Table(dict(zip(self.values[x], values, strict=True))), x, "categorical")
        )

    def add_linear(self) -> None:
        if not self.list_numericals():
            return self.add_mean()
        factors = self.draw(st.tuples(st.sampled_from([1, -1, 2]), st.sampled_from([1, -1, 2])))
        return self.add_expression(
            Linear(
                factors[0],
                self.pick_expression("numerical"),
                factors[1],
                self.pick_expression("numerical"),
            )
        )


def has_head(program: RaspProgram) -> bool:
    """Whether the output depends on other positions at all."""
    return any(isinstance(e, Aggregate | Share) for e in program.expressions)


def _count_expressions(program: RaspProgram) -> int:
    return len(program.expressions)


def answers_differ(program: RaspProgram) -> bool:
    """Whether the program has different answers on some sequences."""
    return len({compute_answer(program, sequence) for sequence in _SOME}) > 1


def random_program(draw: Draw) -> RaspProgram:
    """A program of up to about eight operations, one of them a selector at least.

    Args:
        draw: of `hypothesis.strategies.data`. (No strategy makes the whole program: the package's
            functions run meanwhile, in which beartype uses the module random, and hypothesis does
            not allow that in strategies.)
    """
    builder = _ProgramBuilder(draw)
    for _ in range(draw(st.integers(1, MOST_STEPS))):
        draw(st.sampled_from(_STEPS))(builder)
    return builder.finish_program()


_STEPS: list[Callable[[_ProgramBuilder], None]] = [
    _ProgramBuilder.add_aggregate,
    _ProgramBuilder.add_width,
    _ProgramBuilder.add_mean,
    _ProgramBuilder.add_map,
    _ProgramBuilder.add_map2,
    _ProgramBuilder.add_steps,
    _ProgramBuilder.add_number,
    _ProgramBuilder.add_linear,
]
