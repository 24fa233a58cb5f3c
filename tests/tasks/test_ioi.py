"""The IOI grammar: who stands where, what a corruption changes, and that both kinds of tokenizer
can say it.
"""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer as Backend
from tokenizers.decoders import ByteLevel as ByteLevelDecoder
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel
from tokenizers.trainers import BpeTrainer
from transformers import PreTrainedTokenizerFast

from circuitgraph.errors import ArgumentError, DataError
from circuitgraph.models.tokenizer import Tokenizer
from circuitgraph.tasks.base import GrammarTask, tasks
from circuitgraph.tasks.ioi import FRAMES, NAMES, OBJECTS, PLACES, VERBS
from circuitgraph.tasks.prompts import Pair, TokenizerLike, assign_split
from tests.tasks.conftest import Words

seeds = st.integers(0, 2**32 - 1)
RARE = ("Susan", "Simon", "Jack")


class Spaced(Words):
    """One token per word and punctuation mark."""

    def encode(self, text: str) -> list[int]:
        for mark in ",.":
            text = text.replace(mark, f" {mark}")
        return super().encode(text)


def frame_words() -> list[str]:
    slots = dict.fromkeys(("first", "second", "giver", "place", "verb", "object"), "")
    text = " ".join(frame.format(**slots) for frame in FRAMES)
    return [",", ".", *sorted({word.strip(",.") for word in text.split()} - {""})]


def word_level(names: Sequence[str] = NAMES) -> Spaced:
    return Spaced([*frame_words(), *VERBS, *PLACES, *OBJECTS, *names])


@pytest.fixture(scope="module")
def bpe() -> Tokenizer:
    """A byte-level BPE that knows all our words after a space as one token, but a few names."""
    known = [
        *frame_words(),
        *VERBS,
        *PLACES,
        *OBJECTS,
        *(name for name in NAMES if name not in RARE),
    ]
    backend = Backend(BPE())
    backend.pre_tokenizer = ByteLevel(add_prefix_space=False)
    backend.decoder = ByteLevelDecoder()
    alphabet = ByteLevel.alphabet()
    backend.train_from_iterator(
        [f" {w}" for w in known] * 5, BpeTrainer(vocab_size=2000, initial_alphabet=alphabet)
    )
    return Tokenizer(PreTrainedTokenizerFast(tokenizer_object=backend))


def ioi(tokenizer: TokenizerLike, seed: int = 0, **arguments: str) -> GrammarTask:
    return GrammarTask(tasks["ioi"], tokenizer, seed, arguments)


def check(pair: Pair, tokenizer: TokenizerLike, corruption: str) -> None:
    """All that the grammar says of one pair."""
    clean, corrupted = tokenizer.encode(pair.clean), tokenizer.encode(str(pair.corrupted))
    (io,), (s,) = tokenizer.encode(str(pair.answer)), tokenizer.encode(str(pair.distractor))
    at = pair.roles
    assert len(clean) == len(corrupted)
    assert [clean[at[role]] for role in ("IO", "S1", "S2")] == [io, s, s]
    assert at["S1+1"] == at["S1"] + 1
    assert at["end"] == len(clean) - 1
    assert at["IO"] < at["S2"] > at["S1"]
    assert (clean.count(io), clean.count(s)) == (1, 2)
    names_at = {at["IO"], at["S1"], at["S2"]}
    assert all(
        a == b for i, (a, b) in enumerate(zip(clean, corrupted, strict=True)) if i not in names_at
    )
    one, other, giver = (corrupted[at[role]] for role in ("IO", "S1", "S2"))
    if corruption == "abc":
        assert len({io, s, one, other, giver}) == 5
    elif corruption == "swap":
        assert (one, other, giver) == (io, s, io)
    else:
        assert giver == other
        assert len({io, s, one, other}) == 4


@settings(max_examples=25)
@given(seed=seeds, corruption=st.sampled_from(["abc", "swap", "names"]))
def test_every_pair_is_what_the_grammar_says(seed: int, corruption: str) -> None:
    words = word_level()
    for pair in ioi(words, seed, corruption=corruption).pairs(5, "discovery"):
        check(pair, words, corruption)
        assert 13 <= len(words.encode(pair.clean)) <= 16


@pytest.mark.parametrize("corruption", ["abc", "swap", "names"])
def test_a_tokenizer_that_keeps_spaces_says_the_same(bpe: Tokenizer, corruption: str) -> None:
    task = ioi(bpe, 3, corruption=corruption)
    for pair in task.pairs(30, "evaluation"):
        check(pair, bpe, corruption)
    assert len(task.prompts(20)) == 20


def test_names_of_several_tokens_are_left_out_and_reported(bpe: Tokenizer) -> None:
    task = ioi(bpe)
    (note,) = task.notes
    assert all(name in note for name in RARE)
    assert not any(name in pair.clean for pair in task.pairs(100, "discovery") for name in RARE)


@pytest.mark.parametrize(
    ("templates", "seen"), [("abba", {True}), ("baba", {False}), ("both", {True, False})]
)
def test_templates_say_who_stands_first(templates: str, seen: set[bool]) -> None:
    pairs = ioi(word_level(), templates=templates).pairs(40, "discovery")
    assert {pair.roles["IO"] < pair.roles["S1"] for pair in pairs} == seen


def test_discovery_and_evaluation_never_share_a_prompt() -> None:
    words = word_level()
    seen, judged = (
        {p.clean for p in ioi(words, 5).pairs(60, split)} for split in ("discovery", "evaluation")
    )
    assert len(seen) == len(judged) == 60
    assert seen.isdisjoint(judged)
    assert {assign_split(words.encode(text)) for text in judged} == {"evaluation"}


def test_every_frame_occurs() -> None:
    openings = {
        pair.clean.split()[0].strip(",") for pair in ioi(word_level()).pairs(200, "discovery")
    }
    assert openings == {"Then", "Afterwards", "When", "While", "After", "Yesterday"}


def test_too_few_names_are_refused() -> None:
    with pytest.raises(
        DataError, match="Only 4 of 24 names are one token of this tokenizer, but 5 are needed"
    ):
        ioi(word_level(NAMES[:4]))
    assert ioi(word_level(NAMES[:4]), corruption="names").pairs(1, "discovery")


def test_a_tokenizer_without_our_words_is_refused(words: Words) -> None:
    with pytest.raises(DataError, match="Only 0 of 24 names"):
        ioi(words)


def test_unknown_choices_are_named_all_at_once() -> None:
    with pytest.raises(
        ArgumentError, match=r"(?s)templates is 'abab'.*both, abba, baba.*'abd'.*abc, swap"
    ):
        ioi(word_level(), templates="abab", corruption="abd")
