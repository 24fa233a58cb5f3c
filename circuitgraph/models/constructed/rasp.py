"""A small RASP (Weiss et al. 2021): expressions that have one value at each position of a sequence.

A value is categorical (any hashable thing out of a finite set) or numerical (a fraction). Where an
aggregate selects nothing, a categorical expression has no value: it is `NOTHING`, which every map
leaves as it is and no selector matches. Expressions are compared by identity: two equal expressions
written twice are computed twice.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field, fields
from fractions import Fraction
from functools import cached_property
from typing import Any, Final, Literal

Kind = Literal["categorical", "numerical"]
BOS: Final = "<bos>"  # before every sequence; a selector that selects nothing looks at it
UNKNOWN: Final = "<unk>"
NONE: Final = "<none>"  # the answer of a model whose program's output is `NOTHING`


class _Nothing:
    def __repr__(self) -> str:
        return "NOTHING"


NOTHING: Final = _Nothing()


@dataclass(frozen=True, eq=False)
class Expression:
    """Something with a value at each position.

    Attributes:
        name: how messages call the expression; a number if empty.
    """

    name: str = field(default="", kw_only=True)

    @cached_property
    def operands(self) -> dict[str, Expression]:
        """The expressions that this one is computed from, by the names of its fields.

        A selector stands for its two expressions.
        """
        operands: dict[str, Expression] = {}
        for field_ in fields(self):
            value = getattr(self, field_.name)
            if isinstance(value, Select):
                operands |= {"queries": value.queries, "keys": value.keys}
            elif isinstance(value, Expression):
                operands[field_.name] = value
        return operands

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
    """Which positions each position looks at: where ``predicate(key there, query here)`` is true.

    A selector is no expression: it can be aggregated or counted, and nothing else.
    """

    keys: Expression
    queries: Expression
    predicate: Callable[[Any, Any], bool]


@dataclass(frozen=True, eq=False)
class Aggregate(Expression):
    """What is at the selected positions; one attention head.

    Categorical values: the one value there. All selected positions must have the same value, or a
    prompt is refused; `NOTHING` where no position is selected. Numerical values: their mean; 0
    where no position is selected.
    """

    select: Select
    values: Expression

    @property
    def kind(self) -> Kind:
        return self.values.kind


@dataclass(frozen=True, eq=False)
class Share(Expression):
    """1 / (1 + number of selected positions), a numerical; one attention head.

    Only a `NumericalMap` may read a share.
    See `selector_width`.
    """

    select: Select

    @property
    def kind(self) -> Kind:
        return "numerical"


@dataclass(frozen=True, eq=False)
class Map(Expression):
    """A function of one categorical; hidden units of an MLP.

    A numerical map is 0 where ``x`` is `NOTHING`.
    """

    f: Callable[[Any], Hashable]
    x: Expression
    to: Kind = "categorical"

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
    def kind(self) -> Kind:
        return self.to


@dataclass(frozen=True, eq=False)
class NumericalMap(Expression):
    """A step function between the values that one numerical can have; hidden units of an MLP."""

    f: Callable[[Fraction], Hashable]
    x: Expression
    to: Kind = "numerical"

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
    def kind(self) -> Kind:
        return "numerical"


def width_of(share: Fraction) -> int:
    """The number of selected positions, from a `Share`."""
    return round(1 / share - 1)


def selector_width(select: Select, *, to: Kind = "categorical", name: str = "") -> NumericalMap:
    """How many positions are selected: a head for 1 / (1 + width), and an MLP for the width."""
    return NumericalMap(
        width_of, Share(select, name=f"share of {name}" if name else ""), to, name=name
    )
