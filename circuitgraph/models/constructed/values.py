"""Which values each expression of a program can have, whatever the input: what directions a model
needs.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from itertools import product
from typing import Any

from circuitgraph.errors import ProgramError, first_line
from circuitgraph.models.constructed.language import (
    Aggregate,
    Expression,
    Indices,
    Linear,
    Map,
    Map2,
    NumericalMap,
    Program,
    Select,
    Share,
    Tokens,
)

MOST_VALUES = 256
_MOST_SUMS = 4096


@dataclass(frozen=True)
class Domain:
    """A finite set that holds all values of an expression, in a fixed order, and perhaps some more.

    Attributes:
        values: without `NOTHING`; numerical ones sorted.
        nothing: whether the expression can be `NOTHING`.
    """

    values: tuple[Any, ...]
    nothing: bool = False


Domains = Mapping[Expression, Domain]


def domains(program: Program) -> Domains:
    """The domain of every expression.

    Raises:
        ProgramError: a domain is too large, or a function of the program fails on a value that may
            come; named.
    """
    found: dict[Expression, Domain] = {}
    for e in program.expressions:
        found[e] = _domain(program, e, found)
        if len(found[e].values) > MOST_VALUES:
            raise ProgramError(
                f"{program.called(e)}: {len(found[e].values)} possible values, but at most "
                f"{MOST_VALUES} can be compiled. Use a smaller alphabet or shorter sequences."
            )
    return found


def matches(
    program: Program, e: Expression, select: Select, found: Domains
) -> set[tuple[Any, Any]]:
    """The pairs of key and query that a selector matches."""
    chosen = partial(_called, program, e, select.predicate)
    pairs = product(found[select.keys].values, found[select.queries].values)
    return {pair for pair in pairs if chosen(*pair)}


def image(
    program: Program, e: Map | Map2 | NumericalMap, found: Domains
) -> dict[tuple[Any, ...], Any]:
    """A map's function as a table over its domain."""
    arguments = product(*(found[source].values for source in e.slots.values()))
    table = {given: _called(program, e, e.f, *given) for given in arguments}
    if e.kind == "numerical":
        return {given: as_fraction(program, e, value) for given, value in table.items()}
    return table


def as_fraction(program: Program, e: Expression, value: Hashable) -> Fraction:
    """A numerical value; exact, so that equal values stay equal."""
    if not isinstance(value, int | Fraction):
        raise ProgramError(
            f"{program.called(e)}: numerical values must be int or Fraction, but one is {value!r}."
        )
    return Fraction(value)


def _domain(program: Program, e: Expression, found: Domains) -> Domain:
    nothing = any(found[source].nothing for source in e.slots.values())
    match e:
        case Tokens():
            return Domain(program.alphabet)
        case Indices():
            return Domain(tuple(range(program.max_length)))
        case Share(select):
            matches(program, e, select, found)
            return Domain(tuple(sorted(Fraction(1, n + 1) for n in range(program.max_length + 1))))
        case Aggregate(select, values):
            always = len(matches(program, e, select, found)) == len(
                found[select.keys].values
            ) * len(found[select.queries].values)
            if e.kind == "numerical":
                return Domain(_means(program, e, found[values].values))
            return Domain(found[values].values, nothing or not always)
        case Map() | Map2() | NumericalMap():
            outcomes = image(program, e, found).values()
            if e.kind == "numerical":
                return Domain(_sorted([*outcomes, *([Fraction(0)] if nothing else [])]))
            return Domain(tuple(dict.fromkeys(outcomes)), nothing)
        case Linear(a, x, b, y):
            return Domain(
                _sorted(a * u + b * v for u, v in product(found[x].values, found[y].values))
            )
        case _:
            raise ProgramError(
                f"{program.called(e)}: an expression of the unknown class {type(e).__name__}."
            )


def _called(program: Program, e: Expression, f: Callable[..., Any], *given: Any) -> Any:
    try:
        value = f(*given)
        hash(value)
    except Exception as error:
        shown = ", ".join(map(repr, given))
        raise ProgramError(
            f"{program.called(e)}: its function fails on ({shown}): {first_line(error)}. It must "
            "have a hashable value for everything that may come."
        ) from error
    return value


def _means(program: Program, e: Expression, values: tuple[Fraction, ...]) -> tuple[Fraction, ...]:
    """Means of up to ``max_length`` of the values, and 0."""
    sums, means = {Fraction(0)}, {Fraction(0)}
    for n in range(1, program.max_length + 1):
        sums = {total + value for total in sums for value in values}
        means |= {total / n for total in sums}
        if len(sums) > _MOST_SUMS:
            raise ProgramError(
                f"{program.called(e)}: more than {_MOST_SUMS} possible means, but at most "
                f"{MOST_VALUES} values can be compiled. Use fewer values or shorter sequences."
            )
    return _sorted(means)


def _sorted(values: Iterable[Fraction]) -> tuple[Fraction, ...]:
    return tuple(sorted(set(values)))
