"""The grammar of sums: what is asked, digit by digit or number by number, and what each corruption
changes.
"""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import pre_tokenizers

from circuitgraph.errors import ArgumentError, DataError
from circuitgraph.models.tokenizer import Tokenizer
from circuitgraph.tasks.addition import CORRUPTIONS, Sum
from circuitgraph.tasks.base import GrammarTask, tasks
from circuitgraph.tasks.pair_problems import find_problems
from tests.tasks.small_tokenizers import byte_pairs, word_level

PROMPT = re.compile(r"(\d+)([-+*/])(\d+)=(\d*)")
seeds = st.integers(0, 2**32 - 1)


def addition(tokenizer: Any, seed: int = 0, **arguments: Any) -> GrammarTask:
    return GrammarTask(tasks["addition"], tokenizer, seed, arguments)


@pytest.fixture(scope="module")
def numbers() -> Tokenizer:
    """Every number a token."""
    return word_level([*map(str, range(199)), *"+-="])


@pytest.fixture(scope="module")
def digits() -> Tokenizer:
    """Every digit a token."""
    found = word_level([*"0123456789+-*/="])
    backend: Any = found._inner.backend_tokenizer
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Whitespace(), pre_tokenizers.Digits(individual_digits=True)]
    )
    return found


@pytest.fixture(scope="module")
def bpe() -> Tokenizer:
    """Byte pairs that have merged some numbers of two digits, and not others."""
    return byte_pairs(" ".join(f"={n}+" for n in range(10, 60)), "x" * 3)


def said(text: str) -> tuple[int, str, int, str]:
    found = PROMPT.fullmatch(text)
    assert found is not None
    return int(found[1]), found[2], int(found[3]), found[4]


def value(a: int, operator: str, b: int) -> int:
    return {"+": a + b, "-": a - b, "*": a * b, "/": a // max(b, 1)}[operator]


@pytest.mark.parametrize("kind", ["numbers", "digits", "bpe"])
@pytest.mark.parametrize("corruption", CORRUPTIONS)
@settings(max_examples=10)
@given(seed=seeds)
def test_every_pair_is_what_the_grammar_says(
    request: pytest.FixtureRequest, kind: str, corruption: str, seed: int
) -> None:
    tokenizer = request.getfixturevalue(kind)
    for pair in addition(tokenizer, seed, corruption=corruption).pairs(5, "discovery"):
        assert not find_problems(pair, tokenizer)
        (a, operator, b, known), (c, other, d, theirs) = said(pair.clean), said(str(pair.corrupted))
        assert a >= b or operator == "+"
        assert c >= d or other == "+"
        assert str(value(a, operator, b)).startswith(known + str(pair.answer))
        assert str(value(c, other, d)).startswith(theirs + str(pair.distractor))
        if kind == "numbers":
            assert (known, pair.answer) == ("", str(value(a, operator, b)))
        changed = {
            "operands": operator == other,
            "operator": (a, b) == (c, d) and operator != other,
        }
        assert changed.get(corruption, operator == other and (a == c) != (b == d))


def test_roles_are_where_they_say(digits: Tokenizer, numbers: Tokenizer) -> None:
    for pair in addition(digits).pairs(60, "discovery"):
        a, operator, b, known = said(pair.clean)
        tokens = digits.tokens(digits.encode(pair.clean))
        named = {role: tokens[place] for role, place in pair.roles.items()}
        assert (named["operator"], named["equals"]) == (operator, "=")
        for name, number in (("a", a), ("b", b)):
            assert named[name] == named[f"{name}.ones"] == str(number)[-1]
            assert named.get(f"{name}.tens") == (str(number)[0] if number > 9 else None)
        assert pair.roles["end"] == len(tokens) - 1 == pair.roles["equals"] + len(known)
    pair = addition(numbers).pairs(1, "discovery")[0]
    assert pair.roles == {"a": 0, "operator": 1, "b": 2, "equals": 3, "end": 3}


def test_every_number_of_digits_and_every_place_occurs(digits: Tokenizer) -> None:
    prompts = [said(pair.clean) for pair in addition(digits).pairs(400, "evaluation")]
    assert {(len(str(a)), len(str(b))) for a, _, b, _ in prompts} == {
        (1, 1),
        (1, 2),
        (2, 1),
        (2, 2),
    }
    assert {len(known) for *_, known in prompts} == {0, 1, 2}
    first = [said(pair.clean) for pair in addition(digits, place="first").pairs(50, "evaluation")]
    assert {known for *_, known in first} == {""}
    for pair in addition(digits, place="last").pairs(50, "evaluation"):
        a, operator, b, known = said(pair.clean)
        assert known + str(pair.answer) == str(value(a, operator, b))


def test_four_operations(digits: Tokenizer) -> None:
    pairs = addition(digits, operators="+-*/").pairs(300, "discovery")
    prompts = [said(pair.clean) for pair in pairs]
    assert {operator for _, operator, _, _ in prompts} == set("+-*/")
    assert all(a % b == 0 for a, operator, b, _ in prompts if operator == "/")


@given(a=st.integers(0, 99), b=st.integers(0, 99))
def test_a_sum_is_legal_if_its_result_is_a_natural_number(a: int, b: int) -> None:
    assert Sum(a, "+", b).is_legal
    assert Sum(a, "-", b).is_legal == (a - b >= 0)
    assert Sum(a, "/", b).is_legal == (b > 0 and a / b == a // b)


def test_splits_are_disjoint(digits: Tokenizer) -> None:
    seen = {pair.clean for pair in addition(digits, 1).pairs(200, "discovery")}
    assert seen.isdisjoint(pair.clean for pair in addition(digits, 2).pairs(200, "evaluation"))


BAD: list[tuple[dict[str, Any], str]] = [
    ({"operators": "+%"}, r"operators is '\+%'"),
    ({"operators": "++"}, "each once"),
    ({"operators": ""}, "expected some of"),
    ({"operators": "+", "corruption": "operator"}, "is the only one"),
    ({"corruption": "digits"}, "expected one of operands, operator, one-operand"),
    ({"place": "second"}, "expected one of any, first, last"),
    ({"max_digits": 0}, "max_digits"),
]


@pytest.mark.parametrize(("arguments", "said"), BAD)
def test_choices_that_there_are_not(
    digits: Tokenizer, arguments: dict[str, Any], said: str
) -> None:
    with pytest.raises(ArgumentError, match=said):
        addition(digits, **arguments)


def test_a_tokenizer_without_digits_or_signs() -> None:
    with pytest.raises(DataError, match="digits"):
        addition(word_level([*"01234567+-="]))
    with pytest.raises(DataError, match="signs"):
        addition(word_level([*"0123456789+="]))
