"""The agreement grammar: numbers of subject, attractor and verb, and what corruptions change."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from circuitgraph.errors import ArgumentError, DataError
from circuitgraph.models.tokenizer import Tokenizer
from circuitgraph.tasks.agreement import ADJECTIVES, CLAUSE_VERBS, KINDS, NOUNS, PREPOSITIONS, VERBS
from circuitgraph.tasks.base import GrammarTask, tasks
from circuitgraph.tasks.pair_problems import find_problems
from circuitgraph.tasks.prompts import Pair
from tests.tasks.small_tokenizers import byte_pairs, word_level

FORMS = [form.strip() for pair in NOUNS for form in pair]
OTHERS = ["The", "the", "that", *(f"{ADJECTIVES} {PREPOSITIONS} {CLAUSE_VERBS}".split())]
VERB_FORMS = [form.strip() for pair in VERBS.values() for form in pair]
PLURAL = {pair[1].strip() for pair in NOUNS}
seeds = st.integers(0, 2**32 - 1)


def agreement(tokenizer: Any, seed: int = 0, **arguments: Any) -> GrammarTask:
    return GrammarTask(tasks["agreement"], tokenizer, seed, arguments)


@pytest.fixture(scope="module")
def plain() -> Tokenizer:
    return word_level([*OTHERS, *FORMS, *VERB_FORMS])


@pytest.fixture(scope="module")
def bpe() -> Tokenizer:
    """Knows the first ten nouns, but not the plural of the third."""
    nouns = [form for pair in NOUNS[:10] for form in pair if form != NOUNS[2][1]]
    return byte_pairs(
        "The" + "".join(f" {word}" for word in [*OTHERS[1:], *VERB_FORMS]) + "".join(nouns)
    )


def nouns_of(text: str) -> list[str]:
    return [word for word in text.split() if word in FORMS]


def numbers(text: str) -> list[bool]:
    return [noun in PLURAL for noun in nouns_of(text)]


def kind_of(pair: Pair) -> str:
    of_nouns = numbers(pair.clean)
    if len(of_nouns) == 1:
        return "none"
    kind = "clause" if " that " in pair.clean else "phrase"
    return f"{kind}-{'same' if of_nouns[0] == of_nouns[1] else 'different'}"


@pytest.mark.parametrize("kind", ["plain", "bpe"])
@settings(max_examples=30)
@given(
    seed=seeds,
    attractors=st.sampled_from(["mixed", *KINDS]),
    corruption=st.sampled_from(["subject", "attractor"]),
    verbs=st.sampled_from(list(VERBS)),
)
def test_every_pair_is_what_the_grammar_says(
    request: pytest.FixtureRequest,
    kind: str,
    seed: int,
    attractors: str,
    corruption: str,
    verbs: str,
) -> None:
    tokenizer = request.getfixturevalue(kind)
    if (attractors, corruption) == ("none", "attractor"):
        return
    task = agreement(tokenizer, seed, attractors=attractors, corruption=corruption, verbs=verbs)
    for pair in task.pairs(6, "discovery"):
        assert not find_problems(pair, tokenizer)
        assert kind_of(pair) == attractors if attractors != "mixed" else kind_of(pair) in KINDS
        clean, corrupted = numbers(pair.clean), numbers(str(pair.corrupted))
        changed = 0 if corruption == "subject" else 1
        assert [a != b for a, b in zip(clean, corrupted, strict=True)] == [
            i == changed for i in range(len(clean))
        ]
        assert (pair.distractor, pair.answer) == (VERBS[verbs] if clean[0] else VERBS[verbs][::-1])
        assert set(pair.right) == {forms[clean[0]] for forms in VERBS.values()}
        assert set(pair.wrong) == {forms[not clean[0]] for forms in VERBS.values()}
        tokens = tokenizer.encode(pair.clean)
        for role, noun in zip(["subject", "attractor"], nouns_of(pair.clean), strict=False):
            assert tokenizer.encode(f" {noun}") == [tokens[pair.roles[role]]]
        assert max(pair.roles.values()) == len(tokens) - 1
        assert ("clause_verb" in pair.roles) == (" that " in pair.clean)


def test_every_kind_and_noun_occurs(plain: Tokenizer) -> None:
    pairs = agreement(plain).pairs(900, "evaluation")
    assert {kind_of(pair) for pair in pairs} == set(KINDS)
    assert {noun for pair in pairs for noun in nouns_of(pair.clean)} == set(FORMS)


def test_splits_are_disjoint(plain: Tokenizer) -> None:
    seen = {pair.clean for pair in agreement(plain, 1, attractors="none").pairs(200, "discovery")}
    judged = {
        pair.clean for pair in agreement(plain, 2, attractors="none").pairs(200, "evaluation")
    }
    assert seen.isdisjoint(judged)


def test_nouns_that_split_are_left_out_in_both_numbers_and_said(bpe: Tokenizer) -> None:
    task = agreement(bpe)
    assert NOUNS[2][1].strip() in "".join(task.notes).split("nouns ")[1].split(".")[0].split(", ")
    used = {noun for pair in task.pairs(400, "discovery") for noun in nouns_of(pair.clean)}
    assert used == {form.strip() for pair in NOUNS[:10] for form in pair} - {
        form.strip() for form in NOUNS[2]
    }


def test_verbs_that_are_missing_are_neither_right_nor_wrong() -> None:
    task = agreement(word_level([*OTHERS, *FORMS, "is", "are"]))
    pair = task.pairs(1, "discovery")[0]
    assert {*pair.right, *pair.wrong} == {" is", " are"}
    assert "verbs was, were, has, have" in " ".join(task.notes)
    with pytest.raises(DataError, match="forms of the scored verb"):
        agreement(word_level([*OTHERS, *FORMS, "is", "are"]), verbs="has-have")


def test_too_few_nouns() -> None:
    singulars = [pair[0].strip() for pair in NOUNS]
    with pytest.raises(DataError, match="Of 50 nouns only 3 are one token"):
        agreement(word_level([*OTHERS, *VERB_FORMS, *singulars, *FORMS[:6]]))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"attractors": "some"}, "attractors is 'some': expected one of mixed, none, phrase-same"),
        ({"corruption": "verb"}, "corruption is 'verb': expected one of subject, attractor"),
        ({"verbs": "go-goes"}, "verbs is 'go-goes': expected one of is-are, was-were, has-have"),
        ({"attractors": "none", "corruption": "attractor"}, "leaves nothing to change"),
    ],
)
def test_arguments_that_make_no_sense(
    plain: Tokenizer, arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(ArgumentError, match=message):
        agreement(plain, **arguments)
