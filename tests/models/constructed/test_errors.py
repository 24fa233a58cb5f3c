"""What cannot be expressed is refused, with the expression and the reason."""

from __future__ import annotations

import re
from collections.abc import Callable
from operator import eq
from typing import Any

import pytest

from circuitgraph.errors import ProgramError
from circuitgraph.models.constructed.compile import compile_program
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
    tokens,
)
from circuitgraph.models.constructed.rasp_program import RaspProgram

NUMBER = Map(lambda t: int(t == "a"), tokens, "numerical", name="number")
EVERYWHERE = Select(indices, indices, lambda k, q: True)
MEAN = Aggregate(EVERYWHERE, NUMBER, name="mean")
UNHASHABLE: Any = list
SHARE = Share(EVERYWHERE, name="share")

CASES: dict[str, tuple[Callable[[], Expression], str]] = {
    "a numerical key": (
        lambda: Aggregate(Select(MEAN, tokens, eq), tokens, name="x"),
        "x = .*its keys must be cat",
    ),
    "a numerical query": (
        lambda: Aggregate(Select(tokens, MEAN, eq), tokens, name="x"),
        "x = .*its queries must be",
    ),
    "a numerical in a map": (
        lambda: Map(str, MEAN, name="x"),
        "x = Map.*its x must be categorical, but Aggregate is",
    ),
    "a numerical in a map of two": (
        lambda: Map2(eq, tokens, MEAN, name="x"),
        "x = Map2.*its y must be categorical",
    ),
    "a categorical in a sum": (
        lambda: Linear(1, MEAN, 1, tokens, name="x"),
        "x = 1.*its y must be numerical",
    ),
    "a categorical as a number": (
        lambda: NumericalMap(int, tokens, name="x"),
        "its x must be numerical",
    ),
    "a share that is averaged": (
        lambda: Aggregate(EVERYWHERE, SHARE, name="x"),
        "x = .*values is a Share",
    ),
    "a function that fails": (
        lambda: Map(int, tokens, name="x"),
        r"x = Map.*fails on \('a'\): invalid literal",
    ),
    "a predicate that fails": (
        lambda: Aggregate(Select(tokens, indices, lambda k, q: k < q), tokens),
        "fails on",
    ),
    "a value that is no key": (
        lambda: Map(UNHASHABLE, tokens, name="x"),
        "unhashable type.*hashable value",
    ),
    "a float": (
        lambda: Map(lambda t: 0.1, tokens, "numerical", name="x"),
        r"x = .*must be int or Fraction.*0\.1",
    ),
    "too many values": (
        lambda: Map2(
            lambda x, y: (x, y), indices, Map2(lambda t, i: (t, i), tokens, indices), name="x"
        ),
        "x = Map2.*432 possible values, but at most 256",
    ),
    "too many means": (
        lambda: Aggregate(EVERYWHERE, Map(lambda i: 3**i, indices, "numerical"), name="x"),
        "x = Aggregate.*possible",
    ),
    "an answer of two words": (
        lambda: Map(lambda t: f"{t} {t}", tokens, name="x"),
        "must be words without spaces",
    ),
    "two answers of one name": (
        lambda: Map(lambda t: {"a": 1, "b": "1"}.get(t), tokens),
        "all different",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_expressions(case: str) -> None:
    make, message = CASES[case]
    with pytest.raises(ProgramError, match=re.compile(message, re.DOTALL)):
        compile_program(RaspProgram(make(), ("a", "b", "c"), 12))


def test_programs() -> None:
    with pytest.raises(ProgramError) as caught:
        RaspProgram(tokens, ("a b", "<bos>", "<bos>"), 2, 3)
    for part in (
        "'a b' must be one word",
        "'<bos>' must be",
        "all different",
        "lengths from 3 to 2",
    ):
        assert part in str(caught.value)
