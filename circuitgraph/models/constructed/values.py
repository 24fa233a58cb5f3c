"""Which values each expression of a program can have, whatever the input.

A model needs a direction for each of them.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from itertools import product
from typing import Any

from circuitgraph.errors import ProgramError, first_line
from circuitgraph.models.constructed.rasp import (
    Aggregate,
    Expression,
    Indices,
    Linear,
    Map,
    Map2,
    NumericalMap,
    Select,
    Share,
    Tokens,
)
from circuitgraph.models.constructed.rasp_program import RaspProgram

MOST_VALUES = 256  # of one expression: each value is a direction of the residual stream
_MOST_SUMS = 4096  # of one mean, before they are divided by the number of positions


@dataclass(frozen=True)
class Domain:
    """A finite set of all values of an expression, in a fixed order, and perhaps some more values.

    Attributes:
        values: without `NOTHING`; numerical ones sorted.
        nothing: whether the expression can be `NOTHING`.
    """

    values: tuple[Any, ...]
    nothing: bool = False


Domains = Mapping[Expression, Domain]


def find_domains(program: RaspProgram) -> Domains:
    """The domain of every expression.

    Raises:
        ProgramError: a domain is too large, or a function of the program fails on a value that may
            come; names the expression.
    """
    domains: dict[Expression, Domain] = {}
    for e in program.expressions:
        domains[e] = _find_domain(program, e, domains)
        if len(domains[e].values) > MOST_VALUES:
            raise ProgramError(
                f"{program.describe(e)}: {len(domains[e].values)} possible values, but at most "
                f"{MOST_VALUES} can be compiled. Use a smaller alphabet or shorter sequences."
            )
    return domains


def find_matches(
    program: RaspProgram, e: Expression, select: Select, domains: Domains
) -> set[tuple[Any, Any]]:
    """The pairs of key and query that a selector matches."""
    is_match = partial(_call_function, program, e, select.predicate)
    pairs = product(domains[select.keys].values, domains[select.queries].values)
    return {pair for pair in pairs if is_match(*pair)}


def tabulate_map(
    program: RaspProgram, e: Map | Map2 | NumericalMap, domains: Domains
) -> dict[tuple[Any, ...], Any]:
    """A map's function as a table over its domain."""
    arguments = product(*(domains[source].values for source in e.operands.values()))
    table = {values: _call_function(program, e, e.f, *values) for values in arguments}
    if e.kind == "numerical":
        return {values: to_fraction(program, e, outcome) for values, outcome in table.items()}
    return table


def to_fraction(program: RaspProgram, e: Expression, value: Hashable) -> Fraction:
    """A numerical value, exact so that equal values stay equal."""
    if not isinstance(value, int | Fraction):
        raise ProgramError(
            f"{program.describe(e)}: numerical values must be int or Fraction, but one is "
            f"{value!r}."
        )
    return Fraction(value)


def _find_domain(program: RaspProgram, e: Expression, domains: Domains) -> Domain:
    nothing = any(domains[source].nothing for source in e.operands.values())
    match e:
        case Tokens():
            return Domain(program.alphabet)
        case Indices():
            return Domain(tuple(range(program.max_length)))
        case Share(select):
            find_matches(program, e, select, domains)
            return Domain(tuple(sorted(Fraction(1, n + 1) for n in range(program.max_length + 1))))
        case Aggregate(select, values):
            n_keys, n_queries = (len(domains[x].values) for x in (select.keys, select.queries))
            always = len(find_matches(program, e, select, domains)) == n_keys * n_queries
            if e.kind == "numerical":
                return Domain(_possible_means(program, e, domains[values].values))
            return Domain(domains[values].values, nothing or not always)
        case Map() | Map2() | NumericalMap():
            outcomes = tabulate_map(program, e, domains).values()
            if e.kind == "numerical":
                return Domain(_sort_distinct([*outcomes, *([Fraction(0)] if nothing else [])]))
            return Domain(tuple(dict.fromkeys(outcomes)), nothing)
        case Linear(a, x, b, y):
            pairs = product(domains[x].values, domains[y].values)
            return Domain(_sort_distinct(a * u + b * v for u, v in pairs))
        case _:
            raise ProgramError(
                f"{program.describe(e)}: an expression of the unknown class {type(e).__name__}."
            )


def _call_function(
    program: RaspProgram, e: Expression, f: Callable[..., Any], *arguments: Any
) -> Any:
    try:
        value = f(*arguments)
        hash(value)
    except Exception as error:
        text = ", ".join(map(repr, arguments))
        raise ProgramError(
            f"{program.describe(e)}: its function fails on ({text}): {first_line(error)}. It must "
            "have a hashable value for everything that may come."
        ) from error
    return value


def _possible_means(
    program: RaspProgram, e: Expression, values: tuple[Fraction, ...]
) -> tuple[Fraction, ...]:
    """Means of up to ``max_length`` of the values, and 0."""
    sums, means = {Fraction(0)}, {Fraction(0)}
    for n in range(1, program.max_length + 1):
        sums = {total + value for total in sums for value in values}
        means |= {total / n for total in sums}
        if len(sums) > _MOST_SUMS:
            raise ProgramError(
                f"{program.describe(e)}: more than {_MOST_SUMS} possible means, but at most "
                f"{MOST_VALUES} values can be compiled. Use fewer values or shorter sequences."
            )
    return _sort_distinct(means)


def _sort_distinct(values: Iterable[Fraction]) -> tuple[Fraction, ...]:
    return tuple(sorted(set(values)))
