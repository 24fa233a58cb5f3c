"""A program in RASP: one expression as output, an alphabet, and the lengths of its sequences."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, NamedTuple

from circuitgraph.errors import ProgramError, list_problems
from circuitgraph.models.constructed.rasp import (
    BOS,
    NONE,
    UNKNOWN,
    Aggregate,
    Expression,
    Indices,
    Kind,
    Linear,
    Map,
    Map2,
    NumericalMap,
    Select,
    Share,
    Tokens,
)


class Use(NamedTuple):
    """One use of a value: an operand of an expression, or the output (``consumer`` is None)."""

    consumer: Expression | None
    operand: str


OUTPUT: Final = Use(None, "output")


@dataclass(frozen=True, eq=False)
class RaspProgram:
    """An expression whose value at the last position a model shall predict.

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
            f"{self.describe(e)}: {problem}"
            for e in self.expressions
            for problem in _kind_problems(e)
        ]
        if problems:
            raise ProgramError(list_problems("The program cannot be compiled:", problems))

    @cached_property
    def expressions(self) -> tuple[Expression, ...]:
        """All expressions that the output depends on, each after its operands."""
        ordered: dict[Expression, None] = {}

        def add_expression(e: Expression) -> None:
            if e not in ordered:
                for source in e.operands.values():
                    add_expression(source)
                ordered[e] = None

        add_expression(self.output)
        return tuple(ordered)

    @cached_property
    def uses(self) -> tuple[Use, ...]:
        """Every use of a value, the output last."""
        return (*(Use(e, operand) for e in self.expressions for operand in e.operands), OUTPUT)

    def source_of(self, use: Use) -> Expression:
        """The expression whose value is used there."""
        return self.output if use.consumer is None else use.consumer.operands[use.operand]

    @cached_property
    def names(self) -> Mapping[Expression, str]:
        """A name for each expression: its own, or v and a number.

        Where two expressions have one name, the second is numbered.
        """
        names: dict[Expression, str] = {}
        for e in self.expressions:
            wanted, taken = e.name or f"v{len(names)}", set(names.values())
            candidates = (wanted, *(f"{wanted}_{i}" for i in range(2, 99)))
            names[e] = next(name for name in candidates if name not in taken)
        return names

    def describe(self, e: Expression | None) -> str:
        """How a message names an expression: ``width = NumericalMap(...)``."""
        return "output" if e is None else f"{self.names[e]} = {self._right_side(e)}"

    def __str__(self) -> str:
        """The program as source text."""
        lines = [self.describe(e) for e in self.expressions if not isinstance(e, Tokens | Indices)]
        lengths = f"{self.min_length} to {self.max_length}"
        head = f"# {' '.join(self.alphabet)}, length {lengths}"
        return "\n".join([head, *lines, f"return {self.names[self.output]}"])

    def _right_side(self, e: Expression) -> str:
        name = self.names
        match e:
            case Aggregate(select, values):
                return f"Aggregate({self._describe_select(select)}, {name[values]})"
            case Share(select):
                return f"Share({self._describe_select(select)})"
            case Map(f, x, to) | NumericalMap(f, x, to):
                return f"{type(e).__name__}({_function_name(f)}, {name[x]}, {to})"
            case Map2(f, x, y, to):
                return f"Map2({_function_name(f)}, {name[x]}, {name[y]}, {to})"
            case Linear(a, x, b, y):
                return f"{a} * {name[x]} + {b} * {name[y]}"
            case _:
                return type(e).__name__

    def _describe_select(self, s: Select) -> str:
        keys, queries = self.names[s.keys], self.names[s.queries]
        return f"Select(keys={keys}, queries={queries}, {_function_name(s.predicate)})"


def _function_name(f: Callable[..., Any]) -> str:
    return getattr(f, "__name__", None) or repr(f)


_OPERAND_KINDS: Final[Mapping[type[Expression], Kind]] = {
    Map: "categorical",
    Map2: "categorical",
    NumericalMap: "numerical",
    Linear: "numerical",
}


def _kind_problems(e: Expression) -> list[str]:
    """The operands of an expression that it cannot use, in words."""
    expected: dict[str, Kind] = {
        operand: "categorical" for operand in ("queries", "keys") if operand in e.operands
    }
    if type(e) in _OPERAND_KINDS:
        expected = dict.fromkeys(e.operands, _OPERAND_KINDS[type(e)])
    problems = []
    for operand, kind in expected.items():
        source = e.operands[operand]
        if source.kind != kind:
            problems.append(
                f"its {operand} must be {kind}, but {type(source).__name__} is {source.kind}"
            )
    # The share is 1 before the sequence begins; only a step function removes that.
    if not isinstance(e, NumericalMap):
        problems += [
            f"its {operand} is a Share, which only a NumericalMap may read"
            for operand, source in e.operands.items()
            if isinstance(source, Share)
        ]
    return problems
