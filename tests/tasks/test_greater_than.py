"""The greater-than grammar: what is right and wrong, which years are used, and what each corruption
changes.
"""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from circuitgraph.errors import ArgumentError, DataError
from circuitgraph.models.tokenizer import Tokenizer
from circuitgraph.tasks.base import GrammarTask, tasks
from circuitgraph.tasks.greater_than import CENTURIES, ENDINGS, NOUNS
from circuitgraph.tasks.pair_problems import find_problems
from tests.tasks.small_tokenizers import byte_pairs, word_level

FRAME = "The lasted from the year to"
PROMPT = re.compile(r"The (\w+) lasted from the year (\d\d)(\d\d) to the year (\d\d)")
seeds = st.integers(0, 2**32 - 1)


def greater_than(tokenizer: Any, seed: int = 0, **arguments: Any) -> GrammarTask:
    return GrammarTask(tasks["greater-than"], tokenizer, seed, arguments)


@pytest.fixture(scope="module")
def plain() -> Tokenizer:
    return word_level([*FRAME.split(), *NOUNS.split(), *ENDINGS])


@pytest.fixture(scope="module")
def bpe() -> Tokenizer:
    """As GPT-2's: a century and its round or famous years are tokens, and so is every pair of
    digits.
    """
    nouns = " ".join(NOUNS.split()[:12])
    centuries = " ".join(f"from {century} to" for century in CENTURIES[:7])
    return byte_pairs(
        centuries,
        " ".join(f"x{e}" for e in ENDINGS),
        f"{FRAME} The {nouns} from 1200 to 1415 to 1789 to",
    )


@pytest.mark.parametrize("kind", ["plain", "bpe"])
@pytest.mark.parametrize("corruption", ["year-01", "other-year"])
@settings(max_examples=15)
@given(seed=seeds)
def test_every_pair_is_what_the_grammar_says(
    request: pytest.FixtureRequest, kind: str, corruption: str, seed: int
) -> None:
    tokenizer = request.getfixturevalue(kind)
    for pair in greater_than(tokenizer, seed, corruption=corruption).pairs(6, "discovery"):
        assert not find_problems(pair, tokenizer)
        clean, corrupted = (PROMPT.fullmatch(text) for text in (pair.clean, str(pair.corrupted)))
        assert clean is not None
        assert corrupted is not None
        noun, century, ending, again = clean.groups()
        assert century == again
        assert 2 <= int(ending) <= 98
        assert corrupted.groups() == (noun, century, corrupted[3], century)
        assert corrupted[3] == "01" if corruption == "year-01" else corrupted[3] != ending
        assert [int(right) for right in pair.right] == list(range(int(ending) + 1, 100))
        assert [int(wrong) for wrong in pair.wrong] == list(range(int(ending) + 1))
        assert (pair.answer, pair.distractor) == (pair.right[0], ending)
        tokens = tokenizer.encode(pair.clean)
        for role, text in {
            "noun": f" {noun}",
            "XX1": f" {century}",
            "YY": ending,
            "XX2": f" {century}",
        }.items():
            assert tokenizer.encode(text) == [tokens[pair.roles[role]]]
        assert pair.roles["YY"] == pair.roles["XX1"] + 1
        assert pair.roles["XX2"] == len(tokens) - 1


def test_every_century_and_nearly_every_ending_occurs(plain: Tokenizer) -> None:
    pairs = greater_than(plain).pairs(1200, "evaluation")
    years = [re.findall(r"\d\d", pair.clean) for pair in pairs]
    assert {year[0] for year in years} == set(CENTURIES)
    assert {year[1] for year in years} == set(ENDINGS[2:99])
    assert {pair.clean.split()[1] for pair in pairs} == set(NOUNS.split())


def test_splits_are_disjoint(plain: Tokenizer) -> None:
    seen = {pair.clean for pair in greater_than(plain, 1).pairs(200, "discovery")}
    assert seen.isdisjoint(pair.clean for pair in greater_than(plain, 2).pairs(200, "evaluation"))


def test_what_the_tokenizer_writes_otherwise_is_left_out_and_said(bpe: Tokenizer) -> None:
    assert [len(bpe.encode(f" {year}")) for year in (1732, 1200, 1415, 1789)] == [2, 1, 1, 1]
    task = greater_than(bpe)
    assert any("nouns plague" in note or ", plague" in note for note in task.notes)
    note = task.notes[-1]
    assert note.startswith("Left out, not being two tokens:")
    assert "of 900 years: 1200, 1415, 1789, 1800, " in note  # 18 and 19 are no tokens here
    clean = " ".join(pair.clean for pair in task.pairs(1500, "discovery"))
    assert not re.search("1200|1415|1789| 18| 19", clean)
    assert "1732" in clean or "1414" in clean


def test_nothing_is_said_where_nothing_is_missing(plain: Tokenizer) -> None:
    assert greater_than(plain).notes == ()


def test_centuries_without_their_year_01_still_do_for_other_years() -> None:
    tokenizer = word_level([*FRAME.split(), "war", *(e for e in ENDINGS if e != "01")])
    with pytest.raises(DataError, match="among them the one that ends in 01"):
        greater_than(tokenizer)
    assert greater_than(tokenizer, corruption="other-year").pairs(5, "discovery")


def test_single_digits_are_no_years() -> None:
    digits = byte_pairs(f"{FRAME} {NOUNS}")
    with pytest.raises(DataError, match="Only 0 of 100 two-digit endings are one token"):
        greater_than(digits)


def test_years_of_one_token_are_refused_where_no_century_has_enough_others() -> None:
    whole = word_level([*FRAME.split(), "war", *ENDINGS[30:]])  # no century is a token
    with pytest.raises(DataError, match=r"Years must be two tokens.* Of 630 years .* writes 0 so"):
        greater_than(whole)


def test_unknown_corruption(plain: Tokenizer) -> None:
    with pytest.raises(
        ArgumentError, match="corruption is '01': expected one of year-01, other-year"
    ):
        greater_than(plain, corruption="01")
