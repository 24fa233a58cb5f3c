"""Named programs say what their descriptions say; everything is computed here in plain Python
again.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

import numpy as np
import pytest

from circuitgraph.errors import ProgramError, UnknownNameError
from circuitgraph.models.constructed.interpreter import answer, run
from circuitgraph.models.constructed.language import NOTHING, tokens
from circuitgraph.models.constructed.programs import named, programs


def _balance(s: list[str]) -> str:
    net = s.count("(") - s.count(")")
    return "open" if net > 0 else "closed" if net < 0 else "even"


def _looked_up(s: list[str]) -> object:
    first = int(s[-1])
    second = int(s[first]) if first < len(s) else None
    return s[second] if second is not None and second < len(s) else NOTHING


EXPECTED: dict[str, Callable[[list[str]], object]] = {
    "reverse": lambda s: s[0],
    "fraction-so-far": lambda s: Fraction(s.count("x"), len(s)),
    "histogram": lambda s: s.count(s[-1]),
    "sort": max,
    "detect-pattern": lambda s: "yes" if s[-3:] == ["a", "b", "c"] else "no",
    "palindrome": lambda s: "yes" if s == s[::-1] else "no",
    "first-occurrence": lambda s: s.index(s[-1]),
    "induction": lambda s: s[s.index(s[-1]) + 1],
    "remove-duplicates": lambda s: "-" if s[-1] in s[:-1] else s[-1],
    "two-step-lookup": _looked_up,
    "count-a": lambda s: s.count("a"),
    "first-equals-last": lambda s: "yes" if s[0] == s[-1] else "no",
    "bracket-balance": _balance,
    "increasing": lambda s: "yes" if s == sorted(s) else "no",
    "majority": lambda s: "yes" if s.count("a") > len(s) / 2 else "no",
}


@pytest.mark.parametrize("name", programs)
def test_answers(name: str) -> None:
    chosen, rng = named(name), np.random.default_rng(0)
    program = chosen.make()
    for i in range(300):
        n = int(rng.integers(program.min_length, program.max_length + 1))
        if chosen.sample and (chosen.always or i % 2):
            sequence = chosen.sample(rng, n)
        else:
            sequence = rng.choice(program.alphabet, n).tolist()
        assert answer(program, sequence) == EXPECTED[name](sequence), sequence
    assert chosen.description


def test_overrides_replace_what_one_place_reads() -> None:
    program = programs["first-equals-last"].make()
    values = run(program, list("aba"))
    read = next(r for r in program.reads if r.slot == "x")
    assert program.source(read) is tokens
    assert values[program.output][-1] == "yes"
    assert run(program, list("aba"), {read: list("abb")})[program.output][-1] == "no"


def test_a_program_prints_as_it_is_written() -> None:
    lines = str(programs["reverse"].make()).splitlines()
    assert lines[0] == "# a b c d, length 2 to 6"
    assert lines[1] == "share of length = Share(Select(keys=indices, queries=indices, _always))"
    assert lines[-2:] == [
        "mirrored = Aggregate(Select(keys=indices, queries=opposite, eq), tokens)",
        "return mirrored",
    ]


def test_undefined_prompts_are_refused() -> None:
    program = programs["induction"].make()
    with pytest.raises(
        ProgramError, match=r"copied = Aggregate.*'a b a c a' several different values"
    ):
        answer(program, list("abaca"))
    with pytest.raises(
        ProgramError, match=r"'x' is not in the alphabet(.|\n)*9 symbols; expected 4 to 8"
    ):
        answer(program, list("abcdefghx"))


def test_unknown_programs() -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'reverse'"):
        named("constructed:revers")
