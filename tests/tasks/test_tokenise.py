"""From pairs to a padded batch."""

from __future__ import annotations

import pytest

from circuitgraph.api import load_task
from circuitgraph.errors import ArgumentError, DataError, ModelError
from circuitgraph.models.language_model import LanguageModel
from circuitgraph.tasks.prompts import Pair, TokenizerLike
from circuitgraph.tasks.tokenise import find_problems, tokenise_pairs
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
    assert prompts.corrupted.tolist() == [[3, 4, 3], [1, 0, 0]]
    assert prompts.mask.tolist() == [[True, True, True], [True, False, False]]
    assert prompts.score_at.tolist() == [2, 0]
    assert prompts.answer.tolist() == [2, 3]
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
        tokenise_pairs([LONG, Pair(" one", " one two", " two three", " six")], WORDS)
    for problem in (
        "clean has 1 tokens, corrupted 2",
        "' two three' is 2 tokens",
        "' six' is an unknown token",
    ):
        assert problem in str(caught.value)
    assert str(caught.value).count("pair 2: ") == 3
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


def test_no_prompts_at_all(shipped: LanguageModel) -> None:
    with pytest.raises(ArgumentError, match="the number of prompts is 0"):
        load_task("induction", shipped).prompts(0)


def test_words_do_as_a_tokenizer() -> None:
    assert isinstance(WORDS, TokenizerLike)


def test_model_without_a_tokenizer_is_refused(tiny: Tiny) -> None:
    with pytest.raises(ModelError, match="has no tokenizer"):
        load_task("induction", tiny.ours)
