"""What a program says, without any model: plain evaluation, symbol by symbol, with interventions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any, Final

from circuitgraph.errors import ProgramError, list_problems
from circuitgraph.models.constructed.language import (
    NOTHING,
    Aggregate,
    Expression,
    Indices,
    Linear,
    Map,
    Map2,
    NumericalMap,
    Program,
    Read,
    Select,
    Share,
    Tokens,
)

Row = list[Any]
Overrides = Mapping[Read, Row]


class _Undecided:
    def __repr__(self) -> str:
        return "UNDECIDED"


UNDECIDED: Final = _Undecided()
"""Where a categorical aggregate found several values: a model would write a mixture. All that
depends on it is too.
"""


def run(
    program: Program, sequence: Sequence[str], overrides: Overrides | None = None
) -> dict[Expression, Row]:
    """Every expression's value at every position.

    Args:
        overrides: what some places read instead of the value of this run, at every position:
            interventions on edges.

    Raises:
        ProgramError: a symbol that is not in the alphabet, or a length outside the program's.
    """
    check(program, sequence)
    overrides = overrides or {}
    found: dict[Expression, Row] = {}
    for e in program.expressions:
        given = {
            slot: overrides.get(Read(e, slot), found[source]) for slot, source in e.slots.items()
        }
        found[e] = _row(e, sequence, given)
    return found


def answer(program: Program, sequence: Sequence[str]) -> Any:
    """The output at the last position.

    Raises:
        ProgramError: it is not defined there; or as of `run`.
    """
    found = run(program, sequence)
    value = found[program.output][-1]
    if value is UNDECIDED:
        first = next(e for e in program.expressions if UNDECIDED in found[e])
        raise ProgramError(
            f"{program.called(first)}: on {' '.join(sequence)!r} several different values are "
            "selected, and the output depends on it."
        )
    return value


def check(program: Program, sequence: Sequence[str]) -> None:
    """Raise `ProgramError` unless the program takes this sequence."""
    problems = [f"{s!r} is not in the alphabet {' '.join(program.alphabet)!r}" for s in sequence]
    problems = [p for s, p in zip(sequence, problems, strict=True) if s not in program.alphabet]
    if not program.min_length <= len(sequence) <= program.max_length:
        problems.append(
            f"{len(sequence)} symbols; expected {program.min_length} to {program.max_length}"
        )
    if problems:
        raise ProgramError(
            list_problems(f"The program does not take {' '.join(sequence)!r}:", problems)
        )


def _row(e: Expression, sequence: Sequence[str], given: dict[str, Row]) -> Row:
    match e:
        case Tokens():
            return list(sequence)
        case Indices():
            return list(range(len(sequence)))
        case Aggregate(select, _):
            chosen = [_selected(select, given["keys"], query) for query in given["queries"]]
            gather = _mean if e.kind == "numerical" else _common
            return [
                UNDECIDED if at is None else gather([given["values"][i] for i in at])
                for at in chosen
            ]
        case Share(select):
            chosen = [_selected(select, given["keys"], query) for query in given["queries"]]
            return [UNDECIDED if at is None else Fraction(1, len(at) + 1) for at in chosen]
        case Map(f, _, to) | Map2(f, _, _, to):
            without = Fraction(0) if to == "numerical" else NOTHING
            return [_mapped(f, to, without, values) for values in zip(*given.values(), strict=True)]
        case NumericalMap(f, _, to):
            return [_mapped(f, to, NOTHING, (value,)) for value in given["x"]]
        case Linear(a, _, b, _):
            both = zip(given["x"], given["y"], strict=True)
            return [UNDECIDED if UNDECIDED in pair else a * pair[0] + b * pair[1] for pair in both]
        case _:
            raise ProgramError(f"an expression of the unknown class {type(e).__name__}")


def _selected(select: Select, keys: Row, query: Any) -> list[int] | None:
    """Positions that one query selects; None if that is not decided."""
    if query is NOTHING:
        return []
    if query is UNDECIDED or UNDECIDED in keys:
        return None
    return [i for i, key in enumerate(keys) if key is not NOTHING and select.predicate(key, query)]


def _common(values: Row) -> Any:
    """The value that all have; a mixture with nothing is no value."""
    if not values:
        return NOTHING
    return values[0] if all(value == values[0] for value in values) else UNDECIDED


def _mean(values: Row) -> Any:
    if UNDECIDED in values:
        return UNDECIDED
    return sum(values, Fraction(0)) / len(values) if values else Fraction(0)


def _mapped(f: Any, to: str, without: Any, values: tuple[Any, ...]) -> Any:
    if UNDECIDED in values:
        return UNDECIDED
    if NOTHING in values:
        return without
    return Fraction(f(*values)) if to == "numerical" else f(*values)
