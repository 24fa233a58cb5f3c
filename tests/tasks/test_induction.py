"""The induction grammar: what a prompt is, that supply is unlimited, and that the splits never
meet.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from circuitgraph.errors import ArgumentError, DataError, UnknownNameError
from circuitgraph.models.language_model import LanguageModel
from circuitgraph.tasks.base import GrammarTask, tasks
from circuitgraph.tasks.loading import load_task
from circuitgraph.tasks.prompts import assign_split
from circuitgraph.tasks.words import list_single_token_words
from tests.tasks.conftest import Words

seeds = st.integers(0, 2**32 - 1)


def induction(words: Words, seed: int = 0, **arguments: int) -> GrammarTask:
    return GrammarTask(tasks["induction"], words, seed, arguments)


@settings(max_examples=60)
@given(seed=seeds, low=st.integers(3, 10), more=st.integers(0, 6))
def test_every_pair_is_what_the_grammar_says(words: Words, seed: int, low: int, more: int) -> None:
    task = induction(words, seed, min_words=low, max_words=low + more)
    for pair in task.pairs(8, "discovery"):
        clean, corrupted = words.encode(pair.clean), words.encode(str(pair.corrupted))
        assert low <= len(clean) <= low + more
        assert len(clean) == len(corrupted)
        assert set(clean).isdisjoint(corrupted)
        assert 0 not in clean
        for prompt, answer in ((clean, pair.answer), (corrupted, pair.distractor)):
            assert len(set(prompt)) == len(prompt) - 1
            first = prompt.index(prompt[-1])
            assert first < len(prompt) - 1
            assert words.encode(str(answer)) == [prompt[first + 1]]
        first = clean.index(clean[-1])
        assert pair.roles == {"A1": first, "B1": first + 1, "A2": len(clean) - 1}


def test_every_length_and_place_occurs(words: Words) -> None:
    pairs = induction(words, min_words=4, max_words=6).pairs(300, "discovery")
    seen = {(pair.roles["A2"] + 1, pair.roles["A1"]) for pair in pairs}
    assert seen == {(n, place) for n in (4, 5, 6) for place in range(n - 2)}


@settings(max_examples=40)
@given(one=seeds, other=seeds)
def test_discovery_and_evaluation_never_share_a_prompt(words: Words, one: int, other: int) -> None:
    seen = {
        pair.clean
        for pair in induction(words, one, min_words=3, max_words=4).pairs(60, "discovery")
    }
    judged = {
        pair.clean
        for pair in induction(words, other, min_words=3, max_words=4).pairs(60, "evaluation")
    }
    assert len(seen) == len(judged) == 60
    assert seen.isdisjoint(judged)
    assert {assign_split(words.encode(text)) for text in seen} == {"discovery"}


@given(seed=seeds)
@settings(max_examples=20)
def test_prompts_depend_on_the_seed_only_and_a_longer_list_begins_with_a_shorter(
    words: Words, seed: int
) -> None:
    task = induction(words, seed)
    again, more = induction(words, seed).pairs(5, "evaluation"), task.pairs(12, "evaluation")
    assert task.pairs(5, "evaluation") == again == more[:5]
    assert induction(words, seed + 1).pairs(5, "evaluation") != again


def test_supply_is_unlimited(words: Words) -> None:
    task = induction(words)
    assert task.count_pairs("discovery") is None
    assert len({pair.clean for pair in task.pairs(3000, "discovery")}) == 3000


def test_grammar_that_runs_dry_says_so() -> None:
    task = induction(Words(["aa", "bb", "cc", "dd"]), min_words=3, max_words=3)
    with pytest.raises(
        DataError, match=r"has \d+ different discovery prompts, as far .* where 100 were asked for"
    ):
        task.pairs(100, "discovery")


def test_too_small_a_vocabulary_is_refused_and_the_remedy_works() -> None:
    few = Words(["aa", "bb", "cc", "dd", "ee", "ff", "gg"])
    with pytest.raises(
        DataError, match=r"16 words need 30 different words, .* only 7 .* max_words of at most 4"
    ):
        induction(few)
    assert induction(few, min_words=3, max_words=4).pairs(1, "discovery")


@pytest.mark.parametrize(("low", "high"), [(2, 5), (6, 5), (-1, 8)])
def test_lengths_that_make_no_sense(words: Words, low: int, high: int) -> None:
    with pytest.raises(ArgumentError, match=f"min_words = {low} and max_words = {high}"):
        induction(words, min_words=low, max_words=high)


def test_unknown_argument_gets_the_nearest_match(words: Words) -> None:
    with pytest.raises(
        UnknownNameError, match=r"argument of task 'induction' 'max_word'.*'max_words'"
    ):
        induction(words, max_word=5)


def test_negative_seed(words: Words) -> None:
    with pytest.raises(ArgumentError, match="seed is -1"):
        induction(words, seed=-1).pairs(1, "discovery")


def test_only_words_of_one_token_are_taken() -> None:
    assert list_single_token_words(Words(["lake", "a", "Dog", "x1", "moon"])) == [" lake", " moon"]
    assert list_single_token_words(Words(["lake", "moon", "fish"]), limit=2) == [" lake", " moon"]


def test_prompts_of_the_shipped_model(shipped: LanguageModel) -> None:
    prompts = load_task("induction", shipped, seed=4).prompts(20)
    assert prompts.distractor is not None
    for i, pair in enumerate(prompts.pairs):
        row = prompts.clean[i][prompts.mask[i]]
        assert row[prompts.score_at[i]] == row[pair.roles["A1"]]
        assert row[pair.roles["B1"]] == np.asarray(prompts.answer)[i]
        assert np.isin(np.asarray(prompts.distractor)[i], np.asarray(prompts.corrupted)[i])
