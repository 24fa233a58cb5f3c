"""What a file of pairs may say: ids, several answers, no answer, positions, a header, a table."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from circuitgraph.errors import DataError
from circuitgraph.models.name_tokenizer import TokenNames
from circuitgraph.tasks.pair_maker import ModelSizes
from circuitgraph.tasks.pairs_file import PairsTask
from circuitgraph.tasks.prompts import Pair, TokenizerLike
from tests.tasks.conftest import Words
from tests.tasks.small_tokenizers import byte_pairs

WORDS = Words([f"w{chr(97 + i)}" for i in range(26)])
PAIR = {"clean": " wa wb wc", "corrupted": " wd we wf", "answer": " wg"}


def open_lines(
    folder: Path, lines: Sequence[dict[str, Any]], tokenizer: TokenizerLike = WORDS, **more: Any
) -> PairsTask:
    """All pairs of a file, none of which is kept for judging."""
    file = folder / "p.jsonl"
    file.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    sizes = ModelSizes(16, 27, 27)
    return PairsTask(file, tokenizer, sizes, judging=False, **more)


def open_line(folder: Path, **changes: Any) -> Pair:
    line = {name: value for name, value in (PAIR | changes).items() if value is not ...}
    (pair,) = open_lines(folder, [line]).pairs(1, "discovery")
    return pair


def problem_of(folder: Path, **changes: Any) -> str:
    with pytest.raises(DataError) as caught:
        open_line(folder, **changes)
    return str(caught.value)


def test_a_single_pair_is_enough_without_judging(tmp_path: Path) -> None:
    task = open_lines(tmp_path, [PAIR])
    assert task.count_pairs("discovery") == 1
    assert task.count_pairs("evaluation") == 0
    assert task.arguments["judging"] is False


def test_several_answers_are_lists_and_the_first_is_the_answer(tmp_path: Path) -> None:
    pair = open_line(tmp_path, answer=[" wg", " wh"], distractor=" wi")
    assert (pair.answer, pair.right) == (" wg", (" wg", " wh"))
    assert (pair.distractor, pair.wrong) == (" wi", (" wi",))


def test_ids_are_texts_where_the_text_gives_the_same_ids(tmp_path: Path) -> None:
    """So that properties can exchange words in it."""
    pair = open_line(tmp_path, clean=[1, 2, 3], corrupted=[4, 5, 6], answer=7)
    assert pair == Pair("wa wb wc", "wd we wf", " wg", roles={"end": 2})
    assert pair.tokens is None


def test_ids_are_kept_where_the_text_would_give_others(tmp_path: Path) -> None:
    tokenizer = byte_pairs(" the lamp the lamp", "abc")
    ids = [tokenizer.encode(letter)[0] for letter in "lamp"]
    assert tokenizer.encode("lamp") != ids
    file = tmp_path / "p.jsonl"
    line = {"clean": ids, "corrupted": ids[::-1], "answer": ids[0]}
    file.write_text(json.dumps(line))
    prompts = PairsTask(file, tokenizer, 16, judging=False).prompts(1)
    assert prompts.clean.tolist() == [ids]
    assert prompts.answer is not None
    assert prompts.answer.tolist() == [ids[0]]


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"answer": 27}, "line 1: answer: there is no 27 among the model's 27 outputs"),
        ({"clean": [1, 99, 2]}, "clean: there is no 99 among the model's 27 tokens"),
        ({"answer": [" wg", 3]}, "answer: some are token ids, some texts"),
        ({"answer": []}, "answer: the list is empty"),
        ({"answer": ...}, "there is a distractor, but no answer"),
        ({"corrupted": PAIR["clean"]}, "the corrupted prompt is the clean one"),
        ({"score_at": [0, 9]}, "score_at: there is no token 9"),
        ({"score_at": "wz"}, "score_at: the clean prompt has 'wz' 0 times"),
        ({"score_at": [0, 1]}, "several positions are scored, whose answers are"),
        ({"answer": " wg wh", "distractor": " wi wj wk"}, "' wg wh' has 2 tokens"),
    ],
)
def test_problems(tmp_path: Path, changes: dict[str, Any], problem: str) -> None:
    changes = {"distractor": " wz", **changes} if problem.startswith("there") else changes
    assert problem in problem_of(tmp_path, **changes)


def test_the_last_position_is_scored_unless_another_is_named(tmp_path: Path) -> None:
    assert open_line(tmp_path).score_at is None
    assert open_line(tmp_path, score_at=-1).score_at is None
    assert open_line(tmp_path, score_at=0).score_at == (0,)
    assert open_line(tmp_path, score_at="x", roles={"x": "wb"}).score_at == (1,)
    assert open_line(tmp_path, score_at="all", answer=...).score_at == (0, 1)
    assert open_line(tmp_path, score_at=["wb", 0], answer=...).score_at == (0, 1)


def test_defaults_of_the_metric_follow_what_pairs_have(tmp_path: Path) -> None:
    bare = {"clean": " wa wb"}
    assert open_lines(tmp_path, [bare]).metric == "kl"
    assert open_lines(tmp_path, [{"metric": "logit"}, PAIR]).metric == "logit"


def test_a_header_says_what_holds_for_all_lines(tmp_path: Path) -> None:
    header = {
        "words": {"first": ["wa", "wd"], "pairs": [["wb", "wc"], ["we", "wf"]]},
        "score_at": 0,
    }
    task = open_lines(tmp_path, [header, PAIR])
    assert task.words == {"first": ["wa", "wd"], "pairs": [("wb", "wc"), ("we", "wf")]}
    assert task.pairs(1, "discovery")[0].score_at == (0,)
    with pytest.raises(DataError, match=r"words\.first: 'wa wb' is not one token"):
        open_lines(tmp_path, [{"words": {"first": ["wa wb"]}}, PAIR])


def test_all_lines_have_the_same_parts(tmp_path: Path) -> None:
    without = {name: value for name, value in PAIR.items() if name != "corrupted"}
    with pytest.raises(DataError, match="some lines have a corrupted prompt and some have none"):
        open_lines(tmp_path, [PAIR, without | {"clean": " wb wb wb"}])


def test_a_table_has_the_columns_of_eap_ig(tmp_path: Path) -> None:
    file = tmp_path / "p.csv"
    rows = [
        "clean,corrupted,corrupted_hard,correct_idx,incorrect_idx",
        '" wa wb wc"," wd we wf",x,7,8',
        '" wb wb wb"," wc wc wc",y,"[7, 9]","[8]"',
    ]
    file.write_text("\n".join(rows), encoding="utf-8")
    task = PairsTask(file, WORDS, ModelSizes(16, 27, 27), judging=False)
    one, two = (pair for _, pair in task.numbered_pairs)
    assert (one.answer, one.distractor, one.right) == (" wg", " wh", (" wg",))
    assert (two.right, two.wrong) == ((" wg", " wi"), (" wh",))
    assert any("corrupted_hard" in note for note in task.notes)


class TestAnswersInTheirText:
    """A tokenizer whose tokens depend on what stands before."""

    TOKENIZER = byte_pairs(" the lamp by the boat is (lamp) un-lamp", "lamp boat", "s")

    def test_the_token_that_follows_is_scored(self, tmp_path: Path) -> None:
        line = {"clean": " by the (", "corrupted": " is the (", "answer": "lamp"}
        file = tmp_path / "p.jsonl"
        file.write_text(json.dumps(line))
        prompts = PairsTask(file, self.TOKENIZER, 32, judging=False).prompts(1)
        whole = self.TOKENIZER.encode(" by the (lamp")
        assert prompts.answer is not None
        assert prompts.answer.tolist() == whole[-1:]

    def test_an_answer_that_changes_the_prompt_is_refused(self, tmp_path: Path) -> None:
        file = tmp_path / "p.jsonl"
        file.write_text(json.dumps({"clean": " the la", "corrupted": " by la", "answer": "mp"}))
        with pytest.raises(DataError, match="changes the prompt's last token"):
            PairsTask(file, self.TOKENIZER, 32, judging=False)

    def test_a_missing_space_is_noted(self, tmp_path: Path) -> None:
        file = tmp_path / "p.jsonl"
        file.write_text(json.dumps({"clean": " by the", "corrupted": " is the", "answer": "lamp"}))
        task = PairsTask(file, self.TOKENIZER, 32, judging=False)
        assert any("follow a word without a space" in note for note in task.notes)

    def test_a_space_at_the_end_belongs_to_the_answer(self, tmp_path: Path) -> None:
        file = tmp_path / "p.jsonl"
        file.write_text(
            json.dumps({"clean": " by the ", "corrupted": " is the ", "answer": "lamp"})
        )
        with pytest.raises(DataError, match="the prompt ends with a space"):
            PairsTask(file, self.TOKENIZER, 32, judging=False)


def test_names_of_tokens_and_of_outputs(tmp_path: Path) -> None:
    """Outputs need not be tokens that are read."""
    names = TokenNames(["a", "b", "c", "="], ["even", "odd"])
    file = tmp_path / "p.jsonl"
    lines = [
        {"clean": [0, 1, 3], "corrupted": [2, 1, 3], "answer": 1, "distractor": 0},
        {"clean": "b b =", "corrupted": "c a =", "answer": "even", "distractor": "odd"},
    ]
    file.write_text("\n".join(map(json.dumps, lines)))
    task = PairsTask(file, names, ModelSizes(4, 4, 2), judging=False)
    one, two = (pair for _, pair in task.numbered_pairs)
    assert one == Pair("a b =", "c b =", " odd", " even", {"end": 2})
    assert two == Pair("b b =", "c a =", "even", "odd", {"end": 2})
    assert names.decode_answer(1) == "odd"


def test_roles_count_the_texts_own_tokens(tmp_path: Path) -> None:
    """So that a file means the same with and without BOS."""

    class WithBos(Words):
        prefix: tuple[int, ...] = (26,)

    line = PAIR | {"roles": {"x": 1, "y": "wc"}, "score_at": 0}
    (pair,) = open_lines(tmp_path, [line], WithBos(WORDS.words[1:])).pairs(1, "discovery")
    assert pair.roles == {"end": 3, "x": 2, "y": 3}
    assert pair.score_at == (1,)


def test_a_file_of_texts_has_a_prompt_on_each_line(tmp_path: Path) -> None:
    file = tmp_path / "texts.txt"
    file.write_text("wa wb\n\n wc \n", encoding="utf-8")
    task = PairsTask(file, WORDS, ModelSizes(16, 27, 27), judging=False)
    pairs = task.pairs(2, "discovery")
    assert {pair.clean for pair in pairs} == {"wa wb", " wc "}
    assert {(pair.corrupted, pair.answer, pair.distractor) for pair in pairs} == {(None,) * 3}
    assert task.metric == "kl"
