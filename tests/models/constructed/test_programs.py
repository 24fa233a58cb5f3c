"""Named programs say what their descriptions say, computed here in plain Python again."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

import numpy as np
import pytest

from circuitgraph.errors import ProgramError, UnknownNameError
from circuitgraph.models.constructed.interpreter import compute_answer, run_program
from circuitgraph.models.constructed.named_programs import find_program, named_programs
from circuitgraph.models.constructed.rasp import NOTHING, tokens


def _balance(s: list[str]) -> str:
    net = s.count("(") - s.count(")")
    return "open" if net > 0 else "closed" if net < 0 else "even"


def _look_up(s: list[str]) -> object:
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
    "two-step-lookup": _look_up,
    "count-a": lambda s: s.count("a"),
    "first-equals-last": lambda s: "yes" if s[0] == s[-1] else "no",
    "bracket-balance": _balance,
    "increasing": lambda s: "yes" if s == sorted(s) else "no",
    "majority": lambda s: "yes" if s.count("a") > len(s) / 2 else "no",
}


@pytest.mark.parametrize("name", named_programs)
def test_answers(name: str) -> None:
    named, rng = find_program(name), np.random.default_rng(0)
    program = named.make()
    for i in range(300):
        n = int(rng.integers(program.min_length, program.max_length + 1))
        if named.sample and (named.always or i % 2):
            sequence = named.sample(rng, n)
        else:
            sequence = rng.choice(program.alphabet, n).tolist()
        assert compute_answer(program, sequence) == EXPECTED[name](sequence), sequence
    assert named.description


def test_overrides_replace_what_one_place_reads() -> None:
    program = named_programs["first-equals-last"].make()
    values = run_program(program, list("aba"))
    use = next(u for u in program.uses if u.operand == "x")
    assert program.source_of(use) is tokens
    assert values[program.output][-1] == "yes"
    assert run_program(program, list("aba"), {use: list("abb")})[program.output][-1] == "no"


def test_a_program_prints_as_it_is_written() -> None:
    lines = str(named_programs["reverse"].make()).splitlines()
    assert lines[0] == "# a b c d, length 2 to 6"
    assert lines[1] == "share of length = Share(Select(keys=indices, queries=indices, _always))"
    assert lines[-2:] == [
        "mirrored = Aggregate(Select(keys=indices, queries=opposite, eq), tokens)",
        "return mirrored",
    ]


def test_undefined_prompts_are_refused() -> None:
    program = named_programs["induction"].make()
    with pytest.raises(
        ProgramError, match=r"copied = Aggregate.*'a b a c a' several different values"
    ):
        compute_answer(program, list("abaca"))
    with pytest.raises(
        ProgramError, match=r"'x' is not in the alphabet(.|\n)*9 symbols; expected 4 to 8"
    ):
        compute_answer(program, list("abcdefghx"))


def test_unknown_programs() -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'reverse'"):
        find_program("constructed:revers")
