"""The grammar of modular sums: what is asked, and what each corruption changes."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from circuitgraph.errors import ArgumentError, DataError
from circuitgraph.models.tokenizer import Tokenizer
from circuitgraph.tasks.base import GrammarTask, tasks
from circuitgraph.tasks.pair_problems import find_problems
from tests.tasks.small_tokenizers import word_level

seeds = st.integers(0, 2**32 - 1)


def modular(tokenizer: Any, seed: int = 0, **arguments: Any) -> GrammarTask:
    return GrammarTask(tasks["modular-addition"], tokenizer, seed, arguments)


@pytest.fixture(scope="module")
def numbers() -> Tokenizer:
    return word_level([*map(str, range(59)), "+", "="])


@pytest.mark.parametrize("corruption", ["operands", "one-operand"])
@settings(max_examples=15)
@given(seed=seeds, modulus=st.integers(7, 59))
def test_every_pair_is_what_the_grammar_says(
    numbers: Tokenizer, corruption: str, seed: int, modulus: int
) -> None:
    for pair in modular(numbers, seed, modulus=modulus, corruption=corruption).pairs(
        5, "discovery"
    ):
        assert not find_problems(pair, numbers)
        (a, b), (c, d) = (
            map(int, re.findall(r"\d+", text)) for text in (pair.clean, str(pair.corrupted))
        )
        assert int(str(pair.answer)) == (a + b) % modulus
        assert int(str(pair.distractor)) == (c + d) % modulus
        assert max(a, b, c, d) < modulus
        if corruption == "one-operand":
            assert (a == c) != (b == d)
        tokens = numbers.tokens(numbers.encode(pair.clean))
        assert [tokens[pair.roles[role]] for role in ("a", "plus", "b", "equals")] == [
            str(a),
            "+",
            str(b),
            "=",
        ]


def test_splits_share_the_pairs_out(numbers: Tokenizer) -> None:
    seen = {pair.clean for pair in modular(numbers, 1).pairs(500, "discovery")}
    assert seen.isdisjoint(pair.clean for pair in modular(numbers, 2).pairs(500, "evaluation"))


def test_what_cannot_be(numbers: Tokenizer) -> None:
    with pytest.raises(DataError, match="Only 59 of 60 numbers"):
        modular(numbers, modulus=60)
    with pytest.raises(ArgumentError, match="modulus"):
        modular(numbers, modulus=1)
    with pytest.raises(ArgumentError, match="expected one of operands, one-operand"):
        modular(numbers, corruption="swap")
