"""The docstring grammar: which argument comes next, and what each corruption breaks."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from circuitgraph.errors import ArgumentError, DataError
from circuitgraph.models.tokenizer import Tokenizer
from circuitgraph.tasks.base import GrammarTask, tasks
from circuitgraph.tasks.docstring import ARGUMENTS, NOUNS
from circuitgraph.tasks.pair_problems import find_problems
from tests.tasks.small_tokenizers import byte_pairs, word_level

PROMPT = re.compile(
    r'def (\w+)\(self, (.*)\):\n    """(\w+ \w+ \w+)\n\n'
    r"    :param (\w+): (\w+ \w+)\n    :param (\w+): (\w+ \w+)\n    :param"
)
SIGNS = ["def", "self", "param", "(", ",", "):", '"""', ":"]
seeds = st.integers(0, 2**32 - 1)


def docstring(tokenizer: Any, seed: int = 0, **arguments: Any) -> GrammarTask:
    return GrammarTask(tasks["docstring"], tokenizer, seed, arguments)


@pytest.fixture(scope="module")
def plain() -> Tokenizer:
    return word_level([*SIGNS, *ARGUMENTS.split(), *NOUNS.split()])


@pytest.fixture(scope="module")
def bpe() -> Tokenizer:
    arguments, nouns = " ".join(ARGUMENTS.split()[:20]), " ".join(NOUNS.split()[:10])
    return byte_pairs(f'def(self, self): :param\n    """ {arguments} {nouns} ')


@pytest.mark.parametrize("kind", ["plain", "bpe"])
@pytest.mark.parametrize("corruption", ["random-arguments", "random-doc"])
@settings(max_examples=15)
@given(seed=seeds)
def test_every_pair_is_what_the_grammar_says(
    request: pytest.FixtureRequest, kind: str, corruption: str, seed: int
) -> None:
    tokenizer = request.getfixturevalue(kind)
    for pair in docstring(tokenizer, seed, corruption=corruption).pairs(6, "discovery"):
        assert not find_problems(pair, tokenizer)
        clean, corrupted = (PROMPT.fullmatch(text) for text in (pair.clean, str(pair.corrupted)))
        assert clean is not None
        assert corrupted is not None
        defined, changed = clean[2].split(", "), corrupted[2].split(", ")
        first = defined.index(clean[4])
        assert len(set(defined)) == len(defined) == 6
        assert [clean[4], clean[6], str(pair.answer).strip()] == defined[first : first + 3]
        assert pair.right == (pair.answer,)
        assert {name.strip() for name in pair.wrong} == set(defined) - {str(pair.answer).strip()}
        assert pair.distractor in pair.wrong
        assert [corrupted[i] for i in (1, 3, 5, 7)] == [clean[i] for i in (1, 3, 5, 7)]
        assert {corrupted[4], corrupted[6]}.isdisjoint({*defined, *changed})
        replaced = [i for i in range(6) if changed[i] != defined[i]]
        assert replaced == (
            [first, first + 1, first + 2] if corruption == "random-arguments" else []
        )
        assert len({*changed, *(defined[i] for i in replaced)}) == 6 + len(replaced)
        tokens, names = tokenizer.encode(pair.clean), defined[first:]
        for role, name in zip(
            ("A_def", "B_def", "C_def", "A_doc", "B_doc"), [*names[:3], *names[:2]], strict=True
        ):
            assert tokenizer.encode(f" {name}") == [tokens[pair.roles[role]]]
        assert (
            pair.roles["A_def"]
            < pair.roles["A_doc"]
            < pair.roles["B_doc"]
            < pair.roles["param"]
            == len(tokens) - 1
        )


def test_the_answer_stands_at_every_place_from_the_third_on(plain: Tokenizer) -> None:
    places = {
        clean[2].split(", ").index(str(pair.answer).strip())
        for pair in docstring(plain).pairs(200, "evaluation")
        if (clean := PROMPT.fullmatch(pair.clean))
    }
    assert places == {2, 3, 4, 5}


def test_splits_are_disjoint(plain: Tokenizer) -> None:
    seen = {pair.clean for pair in docstring(plain, 1).pairs(100, "discovery")}
    assert seen.isdisjoint(pair.clean for pair in docstring(plain, 1).pairs(100, "evaluation"))


def test_names_that_split_are_left_out_and_said(bpe: Tokenizer) -> None:
    task = docstring(bpe)
    assert all(
        word in "".join(task.notes) for word in (*ARGUMENTS.split()[20:], *NOUNS.split()[10:])
    )
    used = {name for pair in task.pairs(200, "discovery") for name in (*pair.wrong, *pair.right)}
    assert used == {f" {name}" for name in ARGUMENTS.split()[:20]}


def test_too_few_names() -> None:
    few = word_level([*SIGNS, *ARGUMENTS.split()[:10], *NOUNS.split()])
    with pytest.raises(
        DataError, match=r"Only 10 of \d+ names of arguments are one token .* 11 are needed"
    ):
        docstring(few)


def test_unknown_corruption(plain: Tokenizer) -> None:
    with pytest.raises(ArgumentError, match="expected one of random-arguments, random-doc"):
        docstring(plain, corruption="random-def")
