"""What a program says, without any model: plain evaluation, symbol by symbol."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any, Final

from circuitgraph.errors import ProgramError, list_problems
from circuitgraph.models.constructed.rasp import (
    NOTHING,
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
from circuitgraph.models.constructed.rasp_program import RaspProgram, Use

Values = list[Any]
"""The value of one expression at every position."""

Overrides = Mapping[Use, Values]
"""Interventions on edges: what these uses read at every position instead of the run's values."""


class _Undecided:
    def __repr__(self) -> str:
        return "UNDECIDED"


UNDECIDED: Final = _Undecided()
"""The value of a categorical aggregate over several values, and of all that depends on it.

A model would write a mixture of these values.
"""


def run_program(
    program: RaspProgram, sequence: Sequence[str], overrides: Overrides | None = None
) -> dict[Expression, Values]:
    """Every expression's value at every position.

    Args:
        overrides: interventions on edges; see `Overrides`.

    Raises:
        ProgramError: a symbol that is not in the alphabet, or a length outside the program's.
    """
    check_sequence(program, sequence)
    overrides = overrides or {}
    values: dict[Expression, Values] = {}
    for e in program.expressions:
        operands = {
            operand: overrides.get(Use(e, operand), values[source])
            for operand, source in e.operands.items()
        }
        values[e] = _evaluate(e, sequence, operands)
    return values


def compute_answer(program: RaspProgram, sequence: Sequence[str]) -> Any:
    """The output at the last position.

    Raises:
        ProgramError: the output is not defined there; or as of `run_program`.
    """
    values = run_program(program, sequence)
    value = values[program.output][-1]
    if value is UNDECIDED:
        first = next(e for e in program.expressions if UNDECIDED in values[e])
        raise ProgramError(
            f"{program.describe(first)}: on {' '.join(sequence)!r} several different values are "
            "selected, and the output depends on it."
        )
    return value


def check_sequence(program: RaspProgram, sequence: Sequence[str]) -> None:
    """Raise `ProgramError` unless the program takes this sequence."""
    problems = [
        f"{symbol!r} is not in the alphabet {' '.join(program.alphabet)!r}"
        for symbol in sequence
        if symbol not in program.alphabet
    ]
    if not program.min_length <= len(sequence) <= program.max_length:
        problems.append(
            f"{len(sequence)} symbols; expected {program.min_length} to {program.max_length}"
        )
    if problems:
        raise ProgramError(
            list_problems(f"The program does not take {' '.join(sequence)!r}:", problems)
        )


def _evaluate(e: Expression, sequence: Sequence[str], operands: dict[str, Values]) -> Values:
    match e:
        case Tokens():
            return list(sequence)
        case Indices():
            return list(range(len(sequence)))
        case Aggregate(select, _):
            values = operands["values"]
            gather = _mean_value if e.kind == "numerical" else _common_value
            return [
                UNDECIDED if positions is None else gather([values[i] for i in positions])
                for positions in _select_positions(select, operands)
            ]
        case Share(select):
            return [
                UNDECIDED if positions is None else Fraction(1, len(positions) + 1)
                for positions in _select_positions(select, operands)
            ]
        case Map(f, _, to) | Map2(f, _, _, to):
            empty = Fraction(0) if to == "numerical" else NOTHING
            arguments = zip(*operands.values(), strict=True)
            return [_apply_map(f, to, empty, values) for values in arguments]
        case NumericalMap(f, _, to):
            return [_apply_map(f, to, NOTHING, (value,)) for value in operands["x"]]
        case Linear(a, _, b, _):
            pairs = zip(operands["x"], operands["y"], strict=True)
            return [UNDECIDED if UNDECIDED in pair else a * pair[0] + b * pair[1] for pair in pairs]
        case _:
            raise ProgramError(f"an expression of the unknown class {type(e).__name__}")


def _select_positions(select: Select, operands: dict[str, Values]) -> list[list[int] | None]:
    """The positions that each query selects; None where that is not decided."""
    return [_match_keys(select, operands["keys"], query) for query in operands["queries"]]


def _match_keys(select: Select, keys: Values, query: Any) -> list[int] | None:
    if query is NOTHING:
        return []
    if query is UNDECIDED or UNDECIDED in keys:
        return None
    return [i for i, k in enumerate(keys) if k is not NOTHING and select.predicate(k, query)]


def _common_value(values: Values) -> Any:
    """The value that all selected positions have; a mixture with `NOTHING` is undecided too."""
    if not values:
        return NOTHING
    return values[0] if all(value == values[0] for value in values) else UNDECIDED


def _mean_value(values: Values) -> Any:
    if UNDECIDED in values:
        return UNDECIDED
    return sum(values, Fraction(0)) / len(values) if values else Fraction(0)


def _apply_map(f: Any, to: str, empty: Any, arguments: tuple[Any, ...]) -> Any:
    """The function's value; ``empty`` where an argument is `NOTHING`."""
    if UNDECIDED in arguments:
        return UNDECIDED
    if NOTHING in arguments:
        return empty
    return Fraction(f(*arguments)) if to == "numerical" else f(*arguments)
