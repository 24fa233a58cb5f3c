"""Tasks in MIB's shape: prompts read anew, and what each kind of counterfactual changes in them."""

from __future__ import annotations

import re
import string
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from circuitgraph.errors import ArgumentError, DataError
from circuitgraph.tasks import mib_arithmetic, mib_ioi, mib_mcqa
from circuitgraph.tasks.base import GrammarTask, tasks
from circuitgraph.tasks.prompts import Pair, TokenizerLike
from tests.tasks import small_tokenizers

seeds = st.integers(0, 2**32 - 1)


def list_words() -> list[str]:
    """Every word, sign and number that the three tasks can say."""
    frames = [*mib_ioi.FRAMES, *(t[o] for t in mib_arithmetic.TEMPLATES.values() for o in "+-")]
    texts = [re.sub(r"\{\w+\}", " ", frame) for frame in frames]
    texts += [" ".join((*mib_ioi.NAMES, *mib_ioi.PLACES, *mib_ioi.OBJECTS))]
    texts += ["Question: A is. What color is a?\nAnswer:", mib_mcqa._THINGS, mib_mcqa._COLOURS]
    texts += [" ".join(string.ascii_uppercase), " ".join(map(str, range(200)))]
    return re.findall(r"\w+|[^\w\s]+", " ".join(texts))


@pytest.fixture(scope="module", params=["words", "byte pairs"])
def tokenizer(request: pytest.FixtureRequest) -> TokenizerLike:
    words = list_words()
    if request.param == "words":
        return small_tokenizers.word_level(words)
    return small_tokenizers.byte_pairs(f" {' '.join(words)}")


def draw(
    name: str, tokenizer: TokenizerLike, seed: int = 0, n: int = 5, **arguments: Any
) -> list[Pair]:
    task = GrammarTask(tasks[name], tokenizer, seed, arguments)
    task.prompts(n)  # lengths are equal, answers one token
    return task.pairs(n, "discovery")


def find_names(text: str | None) -> list[str]:
    return [word for word in re.findall(r"\w+", str(text)) if word in mib_ioi.NAMES]


# By kind: whether the answer's place and the answer's name are others, and whether all names are.
CHANGES = {
    "s2-io-flip": (True, True, False),
    "s1-io-flip": (True, False, False),
    "s1-io-flip-s2-io-flip": (False, True, False),
    "random-names": (False, True, True),
    "random-names-s2-io-flip": (True, True, True),
    "random-names-s1-io-flip": (True, True, True),
    "random-names-s1-io-flip-s2-io-flip": (False, True, True),
}


@settings(max_examples=12)
@given(seed=seeds, kind=st.sampled_from(sorted(mib_ioi.COUNTERFACTUALS)))
def test_ioi_counterfactuals(tokenizer: TokenizerLike, seed: int, kind: str) -> None:
    for pair in draw("mib-ioi", tokenizer, seed, counterfactual=kind):
        first, second, giver = clean = find_names(pair.clean)
        assert giver in (first, second)
        io = second if giver == first else first
        assert (pair.answer, pair.distractor) == (f" {io}", f" {giver}")
        tokens = tokenizer.encode(pair.clean)
        at = [tokens[pair.roles[role]] for role in ("IO", "S1", "S2", "N1", "N2")]
        assert at == [i for name in (io, giver, giver, first, second) for i in one(tokenizer, name)]
        assert pair.roles["end"] == len(tokens) - 1
        corrupted = find_names(pair.corrupted)
        without = [
            re.sub("|".join(names), "", str(text))
            for names, text in ((clean, pair.clean), (corrupted, pair.corrupted))
        ]
        assert without[0] == without[1]
        if kind == "abc":
            assert len({*clean, *corrupted}) == 5
            continue
        there = corrupted[1] if corrupted[2] == corrupted[0] else corrupted[0]
        moved = (there == corrupted[0]) != (io == first)
        assert (moved, there != io, not {*clean} & {*corrupted}) == CHANGES[kind]


def read_token(tokenizer: TokenizerLike, token: int) -> str:
    """A token's text without its space, as byte pairs write it too."""
    return tokenizer.decode([token]).strip(" \u0120")


def one(tokenizer: TokenizerLike, word: str) -> list[int]:
    return tokenizer.encode(f" {word}")


def read_question(text: str | None) -> tuple[str, str, dict[str, str]]:
    """The thing, its colour, and the choices by letter."""
    match = re.fullmatch(
        r"Question: A (\w+) is (\w+)\. What color is a \1\?\n((?:\w\. \w+\n)+)Answer:", str(text)
    )
    assert match is not None, text
    choices = dict(line.split(". ") for line in match[3].splitlines())
    return match[1], match[2], choices


@settings(max_examples=12)
@given(seed=seeds, kind=st.sampled_from(mib_mcqa.COUNTERFACTUALS), n=st.integers(2, 6))
def test_mcqa_counterfactuals(tokenizer: TokenizerLike, seed: int, kind: str, n: int) -> None:
    for pair in draw("mib-mcqa", tokenizer, seed, 3, counterfactual=kind, n_choices=n):
        thing, colour, choices = read_question(pair.clean)
        assert [*choices] == [*string.ascii_uppercase[:n]]
        (right,) = (letter for letter, each in choices.items() if each == colour)
        assert pair.answer == f" {right}"
        other_thing, other_colour, other_choices = read_question(pair.corrupted)
        (other,) = (letter for letter, each in other_choices.items() if each == other_colour)
        assert pair.distractor == f" {other}" or right == other
        assert pair.distractor != pair.answer
        changed = {
            "noun": thing != other_thing,
            "color": {*choices.values()} != {*other_choices.values()},
            "letter": [*choices] != [*other_choices],
            "position": [*choices.values()].index(colour)
            != [*other_choices.values()].index(other_colour),
        }
        words = {"symbol": "letter", "question": ""}.get(kind, kind)
        if kind != "question":
            assert {name for name, is_changed in changed.items() if is_changed} == {
                name for name in changed if name in words
            }
        if kind == "symbol":
            assert not {*choices} & {*other_choices}
        tokens = tokenizer.encode(pair.clean)
        assert read_token(tokenizer, tokens[pair.roles["color"]]) == colour
        assert read_token(tokenizer, tokens[pair.roles["answer.color"]]) == colour
        assert read_token(tokenizer, tokens[pair.roles["answer.letter"]]) == right
        assert read_token(tokenizer, tokens[pair.roles["thing"]]) == thing
        assert pair.roles["end"] == len(tokens) - 1


@settings(max_examples=12)
@given(
    seed=seeds,
    kind=st.sampled_from(mib_arithmetic.COUNTERFACTUALS),
    operator=st.sampled_from("+-"),
    template=st.sampled_from([*mib_arithmetic.TEMPLATES, "any"]),
)
def test_arithmetic(
    tokenizer: TokenizerLike, seed: int, kind: str, operator: str, template: str
) -> None:
    arguments = {"counterfactual": kind, "operator": operator, "template": template}
    for pair in draw("mib-arithmetic", tokenizer, seed, 3, **arguments):
        (a, b), (c, d) = (
            map(int, re.findall(r"\d+", str(text))) for text in (pair.clean, pair.corrupted)
        )
        sign = 1 if operator == "+" else -1
        assert (int(str(pair.answer)), int(str(pair.distractor))) == (a + sign * b, c + sign * d)
        assert pair.answer != pair.distractor
        assert all(0 <= number <= 99 for number in (a, b, c, d))
        assert re.sub(r"\d+", "", pair.clean) == re.sub(r"\d+", "", str(pair.corrupted))
        if kind == "one-operand":
            assert (a == c) or (b == d)
        if kind == "carry":
            carries = [
                (x % 10 + y % 10 > 9) if sign == 1 else (x % 10 < y % 10)
                for x, y in ((a, b), (c, d))
            ]
            assert carries[0] != carries[1]
        tokens = tokenizer.encode(pair.clean)
        for role, number in (("a", a), ("b", b)):  # the last token of each
            assert str(number).endswith(read_token(tokenizer, tokens[pair.roles[role]]))
        assert pair.roles["end"] == len(tokens) - 1


def test_a_tokenizer_without_numbers_is_refused() -> None:
    digits = small_tokenizers.byte_pairs(" sum and")
    with pytest.raises(DataError, match="No two of the results up to 198 are single tokens"):
        draw("mib-arithmetic", digits)
    pairs = draw("mib-arithmetic", digits, largest=9, operator="-")
    assert all(pair.clean.endswith(" ") and len(str(pair.answer)) == 1 for pair in pairs)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("mib-ioi", {"counterfactual": "flip"}),
        ("mib-ioi", {"templates": "abab"}),
        ("mib-mcqa", {"counterfactual": "letter"}),
        ("mib-mcqa", {"n_choices": 1}),
        ("mib-arithmetic", {"operator": "*"}),
        ("mib-arithmetic", {"template": "words"}),
        ("mib-arithmetic", {"largest": 5}),
    ],
)
def test_unknown_choices(name: str, arguments: dict[str, Any]) -> None:
    ((setting, value),) = arguments.items()
    with pytest.raises(ArgumentError, match=f"{setting} is {value!r}".replace("*", r"\*")):
        draw(name, small_tokenizers.word_level(list_words()), **arguments)
