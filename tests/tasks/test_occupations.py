"""The occupations grammar: what it draws, and what tokenizers it takes."""

from __future__ import annotations

import re

import pytest

from circuitgraph.errors import DataError
from circuitgraph.models.tokenizer import Tokenizer
from circuitgraph.tasks.base import GrammarTask, tasks
from circuitgraph.tasks.occupations import LINKS, OF_MEN, OF_WOMEN, OPENINGS, PERSONS
from circuitgraph.tasks.pair_problems import find_problems
from tests.tasks.small_tokenizers import byte_pairs, word_level

LISTS = (OF_WOMEN.split(), OF_MEN.split())
FRAME = [*OPENINGS, *re.findall(r"\w+|,", " ".join((*LINKS, *PERSONS)))]
PROMPT = re.compile(rf"({'|'.join(OPENINGS)}) (\w+)({'|'.join(LINKS)})")


@pytest.fixture(scope="module")
def plain() -> Tokenizer:
    return word_level([*FRAME, *LISTS[0], *LISTS[1]])


def test_every_pair_is_what_the_grammar_says(plain: Tokenizer) -> None:
    sides = set()
    for pair in GrammarTask(tasks["occupations"], plain, 0, {}).pairs(60, "discovery"):
        assert not find_problems(pair, plain)
        clean, corrupted = (PROMPT.fullmatch(text) for text in (pair.clean, str(pair.corrupted)))
        assert clean is not None
        assert corrupted is not None
        side = clean[2] in LISTS[1]
        sides.add(side)
        assert (clean[2] in LISTS[side], corrupted[2] in LISTS[not side]) == (True, True)
        assert (clean[1], clean[3]) == (corrupted[1], corrupted[3])
        assert (pair.answer, pair.distractor) == (PERSONS[side], PERSONS[not side])
        assert plain.encode(f" {clean[2]}") == [plain.encode(pair.clean)[pair.roles["occupation"]]]
    assert sides == {False, True}


def test_tokenizers_without_the_words() -> None:
    split = byte_pairs(" ".join(FRAME), f"The {' '.join(LISTS[0][:8])} The")
    with pytest.raises(DataError, match="occupations of men"):
        GrammarTask(tasks["occupations"], split, 0, {}).pairs(1, "discovery")
    with pytest.raises(DataError, match="persons"):
        GrammarTask(tasks["occupations"], word_level([*LISTS[0], *LISTS[1]]), 0, {}).pairs(
            1, "discovery"
        )
