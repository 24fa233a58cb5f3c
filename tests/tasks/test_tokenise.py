"""From pairs to a padded batch."""

from __future__ import annotations

import numpy as np
import pytest

from circuitgraph.errors import ArgumentError, DataError, ModelError
from circuitgraph.models.language_model import LanguageModel
from circuitgraph.tasks.loading import load_task
from circuitgraph.tasks.pair_problems import find_problems
from circuitgraph.tasks.prompts import Pair, TokenizerLike
from circuitgraph.tasks.tokenise import tokenise_pairs
from tests.checkpoints import Tiny
from tests.tasks.conftest import Words

WORDS = Words(["one", "two", "three", "four", "five"])
LONG, SHORT = (
    Pair(" one two one", " three four three", " two", " four"),
    Pair(" five", " one", " three", " two"),
)


def test_padding_lies_on_the_right_and_the_last_real_token_is_scored() -> None:
    prompts = tokenise_pairs([LONG, SHORT], WORDS)
    assert prompts.clean.tolist() == [[1, 2, 1], [5, 0, 0]]
    assert np.asarray(prompts.corrupted).tolist() == [[3, 4, 3], [1, 0, 0]]
    assert prompts.mask.tolist() == [[True, True, True], [True, False, False]]
    assert prompts.score_at.tolist() == [2, 0]
    assert np.asarray(prompts.answer).tolist() == [2, 3]
    assert prompts.distractor is not None
    assert prompts.distractor.tolist() == [4, 2]
    assert len(prompts) == 2


def test_distractors_are_optional_for_all_or_none() -> None:
    plain = [Pair(pair.clean, pair.corrupted, pair.answer) for pair in (LONG, SHORT)]
    assert tokenise_pairs(plain, WORDS).distractor is None
    with pytest.raises(ArgumentError, match="every pair has a distractor or none"):
        tokenise_pairs([LONG, plain[1]], WORDS)


def test_fingerprint_tells_prompts_apart() -> None:
    changed = [
        [LONG, SHORT],
        [SHORT, LONG],
        [LONG],
        [LONG, Pair(" five", " one", " three", " four")],
        [LONG, Pair(" five", " one", " four", " two")],
        [LONG, Pair(" five", " two", " three", " two")],
        [Pair(pair.clean, pair.corrupted, pair.answer) for pair in (LONG, SHORT)],
    ]
    assert len({tokenise_pairs(pairs, WORDS).fingerprint for pairs in changed}) == len(changed)
    assert (
        tokenise_pairs([LONG, SHORT], WORDS).fingerprint
        == tokenise_pairs([LONG, SHORT], WORDS).fingerprint
    )


def test_all_problems_are_listed_at_once() -> None:
    with pytest.raises(DataError) as caught:
        tokenise_pairs(
            [
                LONG,
                Pair(" one", " one two", " two three", " six"),
                Pair(" one", " two", " two three", " one"),
            ],
            WORDS,
        )
    for problem in (
        "clean has 1 tokens, corrupted 2",
        "' six' is an unknown token",
        "the answer ' two three' has 2 tokens, the distractor ' one' 1",
    ):
        assert problem in str(caught.value)
    assert str(caught.value).count("pair 2: ") == 2
    assert "pair 1" not in str(caught.value)


def test_no_pairs_at_all() -> None:
    with pytest.raises(DataError, match="there are none"):
        tokenise_pairs([], WORDS)


def test_context_is_a_limit_that_is_still_allowed() -> None:
    assert find_problems(LONG, WORDS, n_ctx=3) == []
    assert find_problems(LONG, WORDS, n_ctx=2) == ["3 tokens exceed the model's context of 2"]


class Spaced(Words):
    """A tokenizer for which a word without its space is two tokens."""

    def encode(self, text: str) -> list[int]:
        return (
            super().encode(text) if text.startswith(" ") or not text else [0, *super().encode(text)]
        )


def test_a_missing_leading_space_is_pointed_out() -> None:
    pair = Pair(" one", " two", "three")
    assert find_problems(pair, Spaced(WORDS.words[1:]))[0].endswith(
        "' three', with a leading space, would be one"
    )


def test_an_answer_of_several_tokens_is_read_token_by_token() -> None:
    """Each token of the answer is scored after those before it, on both sides."""
    pairs = [Pair(" one two", " two one", " three four", " four five"), SHORT]
    prompts = tokenise_pairs(pairs, WORDS)
    assert prompts.clean.tolist() == [[1, 2, 3], [5, 0, 0]]
    assert prompts.corrupted is not None
    assert prompts.corrupted.tolist() == [[2, 1, 3], [1, 0, 0]]
    assert prompts.score_at.tolist() == [[1, 2], [0, 0]]
    assert prompts.answer is not None
    assert prompts.distractor is not None
    assert prompts.answer.tolist() == [[3, 4], [3, 3]]
    assert prompts.distractor.tolist() == [[4, 5], [2, 2]]
    assert prompts.scores == "tokens"
    assert prompts.weights is not None
    assert prompts.weights.tolist() == [[1, 1], [1, 0]]


def test_several_scored_positions_have_the_next_tokens_as_answers() -> None:
    pairs = [
        Pair(" one two three", None, None, score_at=(0, 1)),
        Pair(" five four", None, None, score_at=(0,)),
    ]
    with pytest.raises(ArgumentError, match="several scored positions"):
        tokenise_pairs(pairs, WORDS)
    prompts = tokenise_pairs(
        [pairs[0], Pair(" five one two four", None, None, score_at=(0, 1, 2))], WORDS
    )
    assert prompts.corrupted is None
    assert prompts.answer is not None
    assert prompts.weights is not None
    assert prompts.answer.tolist() == [[2, 3, 3], [1, 2, 4]]
    assert prompts.score_at.tolist() == [[0, 1, 1], [0, 1, 2]]
    assert prompts.weights.tolist() == pytest.approx(np.array([[1 / 2, 1 / 2, 0], [1 / 3] * 3]))


def test_no_prompts_at_all(shipped: LanguageModel) -> None:
    with pytest.raises(ArgumentError, match="the number of prompts is 0"):
        load_task("induction", shipped).prompts(0)


def test_words_do_as_a_tokenizer() -> None:
    assert isinstance(WORDS, TokenizerLike)


def test_model_without_a_tokenizer_is_refused(tiny: Tiny) -> None:
    with pytest.raises(ModelError, match="has no tokenizer"):
        load_task("induction", tiny.ours)
