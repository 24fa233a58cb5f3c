"""A small RASP (Weiss et al. 2021): expressions that have one value at each position of a sequence.

A value is categorical (any hashable thing out of a finite set) or numerical (a fraction). Where a
categorical
expression has no value, because an aggregate selected nothing, it is `NOTHING`, which every map
leaves as it is and no
selector matches. Expressions are compared by identity: two equal ones written twice are computed
twice.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property
from typing import Any, Final, Literal, NamedTuple

from circuitgraph.errors import ProgramError, list_problems

Kind = Literal["categorical", "numerical"]
BOS: Final = (
    "<bos>"  # stands before every sequence; selectors look at it where they select nothing else
)
UNKNOWN: Final = "<unk>"
NONE: Final = "<none>"  # what a model answers where its program's output is `NOTHING`


class _Nothing:
    def __repr__(self) -> str:
        return "NOTHING"


NOTHING: Final = _Nothing()


@dataclass(frozen=True, eq=False)
class Expression:
    """What has a value at each position. ``name``: how messages call it; a number if empty."""

    name: str = field(default="", kw_only=True)

    @property
    def slots(self) -> dict[str, Expression]:
        """What it is computed from, by the name of the place where it comes in."""
        return {}

    @property
    def kind(self) -> Kind:
        """Whether its values are categorical or numerical."""
        return "categorical"


@dataclass(frozen=True, eq=False)
class Tokens(Expression):
    """The input symbol at each position."""


@dataclass(frozen=True, eq=False)
class Indices(Expression):
    """The number of each position, from 0 at the first symbol."""


tokens: Final = Tokens(name="tokens")
indices: Final = Indices(name="indices")


@dataclass(frozen=True, eq=False)
class Select:
    """Which positions each position looks at: those where ``predicate(key there, query here)`` is
    true.

    It is no expression: what is selected can be aggregated or counted, and nothing else.
    """

    keys: Expression
    queries: Expression
    predicate: Callable[[Any, Any], bool]


@dataclass(frozen=True, eq=False)
class Aggregate(Expression):
    """What is found at the selected positions; one attention head.

    Categorical values: the one value there. All selected positions must agree, or a prompt is
        refused; `NOTHING` where
    none is selected. Numerical values: their mean; 0 where none is selected.
    """

    select: Select
    values: Expression

    @property
    def slots(self) -> dict[str, Expression]:
        return {"queries": self.select.queries, "keys": self.select.keys, "values": self.values}

    @property
    def kind(self) -> Kind:
        return self.values.kind


@dataclass(frozen=True, eq=False)
class Share(Expression):
    """1 / (1 + number of selected positions), a numerical that only a `NumericalMap` may read; one
    attention head.

    See `selector_width`.
    """

    select: Select

    @property
    def slots(self) -> dict[str, Expression]:
        return {"queries": self.select.queries, "keys": self.select.keys}

    @property
    def kind(self) -> Kind:
        return "numerical"


@dataclass(frozen=True, eq=False)
class Map(Expression):
    """A function of one categorical; hidden units of an MLP. As a numerical, it is 0 where ``x`` is
    `NOTHING`.
    """

    f: Callable[[Any], Hashable]
    x: Expression
    to: Kind = "categorical"

    @property
    def slots(self) -> dict[str, Expression]:
        return {"x": self.x}

    @property
    def kind(self) -> Kind:
        return self.to


@dataclass(frozen=True, eq=False)
class Map2(Expression):
    """A function of two categoricals; hidden units of an MLP, one for each pair of values."""

    f: Callable[[Any, Any], Hashable]
    x: Expression
    y: Expression
    to: Kind = "categorical"

    @property
    def slots(self) -> dict[str, Expression]:
        return {"x": self.x, "y": self.y}

    @property
    def kind(self) -> Kind:
        return self.to


@dataclass(frozen=True, eq=False)
class NumericalMap(Expression):
    """A function of one numerical, as a step function between the values that it can have; hidden
    units of an MLP.
    """

    f: Callable[[Fraction], Hashable]
    x: Expression
    to: Kind = "numerical"

    @property
    def slots(self) -> dict[str, Expression]:
        return {"x": self.x}

    @property
    def kind(self) -> Kind:
        return self.to


@dataclass(frozen=True, eq=False)
class Linear(Expression):
    """a x + b y of two numericals; four hidden units of an MLP."""

    a: Fraction | int
    x: Expression
    b: Fraction | int
    y: Expression

    @property
    def slots(self) -> dict[str, Expression]:
        return {"x": self.x, "y": self.y}

    @property
    def kind(self) -> Kind:
        return "numerical"


def width_of(share: Fraction) -> int:
    """The number of selected positions, from a `Share`."""
    return round(1 / share - 1)


def selector_width(select: Select, *, to: Kind = "categorical", name: str = "") -> NumericalMap:
    """How many positions are selected: a head that gives 1 / (1 + width), and an MLP that makes the
    width of it.
    """
    return NumericalMap(
        width_of, Share(select, name=f"share of {name}" if name else ""), to, name=name
    )


class Read(NamedTuple):
    """A place where a value is used: a slot of an expression, or the output (``consumer`` is None)."""

    consumer: Expression | None
    slot: str


OUTPUT: Final = Read(None, "output")


@dataclass(frozen=True, eq=False)
class Program:
    """An expression whose value at the last position is what a model shall predict.

    Attributes:
        alphabet: input symbols; each becomes one token.
        max_length: of sequences, `BOS` not counted.

    Raises:
        ProgramError: an alphabet or lengths that make no sense, or expressions of the wrong kind;
            all are listed.
    """

    output: Expression
    alphabet: tuple[str, ...]
    max_length: int
    min_length: int = 1

    def __post_init__(self) -> None:
        problems = []
        for symbol in self.alphabet:
            if not symbol or symbol.split() != [symbol] or symbol in (BOS, UNKNOWN, NONE):
                problems.append(
                    f"the symbol {symbol!r} must be one word, and none of {BOS}, {UNKNOWN}, {NONE}"
                )
        if len(set(self.alphabet)) != len(self.alphabet) or len(self.alphabet) < 2:
            problems.append(
                f"the alphabet {self.alphabet} must have at least two symbols, all different"
            )
        if not 1 <= self.min_length <= self.max_length:
            problems.append(
                f"lengths from {self.min_length} to {self.max_length}; expected 1 <= min <= max"
            )
        problems += [
            f"{self.called(e)}: {problem}"
            for e in self.expressions
            for problem in _kind_problems(e)
        ]
        if problems:
            raise ProgramError(list_problems("The program cannot be compiled:", problems))

    @cached_property
    def expressions(self) -> tuple[Expression, ...]:
        """All expressions that the output depends on, each after what it is computed from."""
        found: dict[Expression, None] = {}

        def visit(e: Expression) -> None:
            if e not in found:
                for source in e.slots.values():
                    visit(source)
                found[e] = None

        visit(self.output)
        return tuple(found)

    @cached_property
    def reads(self) -> tuple[Read, ...]:
        """Every place where a value is used, the output last."""
        return (*(Read(e, slot) for e in self.expressions for slot in e.slots), OUTPUT)

    def source(self, read: Read) -> Expression:
        """What is read there."""
        return self.output if read.consumer is None else read.consumer.slots[read.slot]

    @cached_property
    def names(self) -> Mapping[Expression, str]:
        """A name for each expression: its own, or v and a number; numbered on where two have one
        name.
        """
        found: dict[Expression, str] = {}
        for e in self.expressions:
            wished = e.name or f"v{len(found)}"
            taken = set(found.values())
            found[e] = next(
                n for n in (wished, *(f"{wished}_{i}" for i in range(2, 99))) if n not in taken
            )
        return found

    def called(self, e: Expression | None) -> str:
        """How a message names an expression: ``width = NumericalMap(...)``."""
        return "output" if e is None else f"{self.names[e]} = {self._right_side(e)}"

    def __str__(self) -> str:
        """The program as it would be written down."""
        lines = [self.called(e) for e in self.expressions if not isinstance(e, Tokens | Indices)]
        lengths = f"{self.min_length} to {self.max_length}"
        return "\n".join(
            [
                f"# {' '.join(self.alphabet)}, length {lengths}",
                *lines,
                f"return {self.names[self.output]}",
            ]
        )

    def _right_side(self, e: Expression) -> str:
        name = self.names
        match e:
            case Aggregate(select, values):
                return f"Aggregate({self._selected(select)}, {name[values]})"
            case Share(select):
                return f"Share({self._selected(select)})"
            case Map(f, x, to) | NumericalMap(f, x, to):
                return f"{type(e).__name__}({_shown(f)}, {name[x]}, {to})"
            case Map2(f, x, y, to):
                return f"Map2({_shown(f)}, {name[x]}, {name[y]}, {to})"
            case Linear(a, x, b, y):
                return f"{a} * {name[x]} + {b} * {name[y]}"
            case _:
                return type(e).__name__

    def _selected(self, s: Select) -> str:
        return f"Select(keys={self.names[s.keys]}, queries={self.names[s.queries]}, {_shown(s.predicate)})"


def _shown(f: Callable[..., Any]) -> str:
    return getattr(f, "__name__", None) or repr(f)


_TAKES: Final[Mapping[type[Expression], Kind]] = {
    Map: "categorical",
    Map2: "categorical",
    NumericalMap: "numerical",
    Linear: "numerical",
}


def _kind_problems(e: Expression) -> list[str]:
    """What an expression reads that it cannot, in words."""
    expected: dict[str, Kind] = {
        slot: "categorical" for slot in ("queries", "keys") if slot in e.slots
    }
    if type(e) in _TAKES:
        expected = dict.fromkeys(e.slots, _TAKES[type(e)])
    found = [
        f"its {slot} must be {kind}, but {type(e.slots[slot]).__name__} is {e.slots[slot].kind}"
        for slot, kind in expected.items()
        if e.slots[slot].kind != kind
    ]
    if not isinstance(
        e, NumericalMap
    ):  # the share is 1 before the sequence begins; only a step function cleans that
        unread = [slot for slot, source in e.slots.items() if isinstance(source, Share)]
        found += [f"its {slot} is a Share, which only a NumericalMap may read" for slot in unread]
    return found
