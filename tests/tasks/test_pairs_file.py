"""A user's own file of pairs: its halves, its supply, and its default metric."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from circuitgraph.errors import ArgumentError, DataError
from circuitgraph.jobs.workbench import draw_prompts
from circuitgraph.models.language_model import LanguageModel
from circuitgraph.tasks.loading import load_task
from circuitgraph.tasks.pairs_file import PairsTask
from circuitgraph.tasks.prompts import SPLITS, assign_split
from tests.tasks.conftest import Words

WORDS = Words([f"w{chr(97 + i)}" for i in range(26)])
FILE = "pairs.jsonl"


def write(
    folder: Path, prompts: Sequence[str], distractor: str | None = " wb", answer: str = " wa"
) -> Path:
    lines = [
        {"clean": clean, "corrupted": " ".join(["wz"] * len(clean.split())), "answer": answer}
        for clean in prompts
    ]
    if distractor is not None:
        lines = [{**line, "distractor": distractor} for line in lines]
    (folder / FILE).write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    return folder / FILE


def prompts_of(n: int) -> list[str]:
    return [f" w{chr(97 + i // 26)} w{chr(97 + i % 26)}" for i in range(n)]


@settings(max_examples=40)
@given(
    n=st.integers(12, 60), more=st.integers(0, 60), one=st.integers(0, 99), other=st.integers(0, 99)
)
def test_no_seed_and_no_added_line_moves_a_prompt_to_the_other_split(
    tmp_path_factory: pytest.TempPathFactory, n: int, more: int, one: int, other: int
) -> None:
    folder = tmp_path_factory.mktemp("pairs")
    seen = {
        pair.clean
        for pair in PairsTask(write(folder, prompts_of(n)), WORDS, 8, one).list_pairs("discovery")
    }
    grown = PairsTask(write(folder, prompts_of(n + more)), WORDS, 8, other)
    judged = {pair.clean for pair in grown.list_pairs("evaluation")}
    assert seen.isdisjoint(judged)
    assert seen <= {pair.clean for pair in grown.list_pairs("discovery")}
    assert (grown.count_pairs("discovery") or 0) + len(judged) == n + more


def test_texts_of_the_same_tokens_are_in_the_same_split(tmp_path: Path) -> None:
    """A leading space more or less is no other prompt to a tokenizer that drops it."""
    task = PairsTask(
        write(tmp_path, [*prompts_of(20), *(p.strip() for p in prompts_of(20))]), WORDS, 8
    )
    seen, judged = ({pair.clean.strip() for pair in task.list_pairs(split)} for split in SPLITS)
    assert seen.isdisjoint(judged)


def test_seed_decides_the_order_only(tmp_path: Path) -> None:
    file = write(tmp_path, prompts_of(30))
    orders = [
        [pair.clean for pair in PairsTask(file, WORDS, 8, seed).list_pairs("discovery")]
        for seed in (0, 0, 1)
    ]
    assert orders[0] == orders[1] != orders[2]
    assert sorted(orders[0]) == sorted(orders[2])


def test_a_pair_that_stands_twice_counts_once(tmp_path: Path) -> None:
    once, thrice = (
        PairsTask(write(tmp_path, prompts_of(20) * times), WORDS, 8) for times in (1, 3)
    )
    for split in SPLITS:
        assert thrice.pairs(2, split) == once.pairs(2, split)
        assert thrice.count_pairs(split) == once.count_pairs(split)


def test_asking_for_too_many(tmp_path: Path) -> None:
    task = PairsTask(write(tmp_path, prompts_of(20)), WORDS, 8)
    supply = task.count_pairs("evaluation") or 0
    assert len(task.pairs(supply, "evaluation")) == supply
    with pytest.raises(
        DataError,
        match=f"has 20 pairs, {supply} of them for evaluation, but {supply + 1} were asked for",
    ):
        task.prompts(supply + 1, "evaluation")


def test_default_number_is_what_there_is(tmp_path: Path) -> None:
    task = PairsTask(write(tmp_path, prompts_of(20)), WORDS, 8)
    assert len(draw_prompts(task, "discovery")) == task.count_pairs("discovery")
    assert len(draw_prompts(task, "discovery", 2)) == 2


def test_too_few_on_one_side(tmp_path: Path) -> None:
    prompts = [
        prompt for prompt in prompts_of(40) if assign_split(WORDS.encode(prompt)) == "discovery"
    ]
    with pytest.raises(
        DataError, match=r"too small.*5 to discovery and 0 to evaluation.*Add lines"
    ):
        PairsTask(write(tmp_path, prompts[:5]), WORDS, 8)


def test_a_file_takes_no_arguments(tmp_path: Path, shipped: LanguageModel) -> None:
    with pytest.raises(ArgumentError, match="takes no arguments, but min_words was given"):
        load_task(tmp_path / FILE, shipped, min_words=3)


@pytest.mark.parametrize(
    ("distractor", "metric"), [(" wb", "logit_difference"), (None, "log_probability")]
)
def test_default_metric_is_one_that_the_pairs_allow(
    tmp_path: Path, distractor: str | None, metric: str
) -> None:
    task = PairsTask(write(tmp_path, prompts_of(12), distractor), WORDS, 8)
    assert task.metric == metric
    assert (task.prompts(2).distractor is None) == (distractor is None)


def test_negative_seed(tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match="seed is -1"):
        PairsTask(write(tmp_path, prompts_of(4)), WORDS, 8, seed=-1)


@pytest.mark.parametrize("space", ["\u2028", "\u0085"])
def test_only_a_newline_ends_a_line(tmp_path: Path, space: str) -> None:
    """Such characters may stand in JSON text as they are, and str.splitlines() takes them for line
    ends.
    """
    lines = [
        json.dumps(
            {"clean": f" wa{space}w{c}", "corrupted": " wb wb", "answer": " wa"}, ensure_ascii=False
        )
        for c in "abcdefghijklmnop"
    ]
    (tmp_path / FILE).write_text("\r\n".join(lines), encoding="utf-8", newline="")
    task = PairsTask(tmp_path / FILE, WORDS, 8)
    assert (task.count_pairs("discovery") or 0) + (task.count_pairs("evaluation") or 0) == 16


def test_load_task_takes_a_path_or_its_text(tmp_path: Path, shipped: LanguageModel) -> None:
    (tmp_path / FILE).write_text(
        "\n".join(
            json.dumps({"clean": f" dog {word}", "corrupted": " cat fish", "answer": " lake"})
            for word in (
                "moon",
                "chair",
                "door",
                "bread",
                "star",
                "ship",
                "milk",
                "king",
                "hat",
                "cow",
                "bus",
                "bed",
            )
        )
    )
    for name in (tmp_path / FILE, str(tmp_path / FILE)):
        task = load_task(name, shipped)
        assert task.name == "pairs"
        assert (task.count_pairs("discovery") or 0) + (task.count_pairs("evaluation") or 0) == 12
        assert task.arguments["data"] == str(tmp_path / FILE)


def with_roles(folder: Path, roles: dict[str, object], clean: str = " wa wb wc wb") -> PairsTask:
    write(folder, prompts_of(40))
    line = {
        "clean": clean,
        "corrupted": " wz" * len(clean.split()),
        "answer": " wa",
        "distractor": " wb",
    }
    with (folder / FILE).open("a", encoding="utf-8") as file:
        file.write("\n" + json.dumps({**line, "roles": roles}))
    return PairsTask(folder / FILE, WORDS, 16)


def test_roles_are_texts_or_numbers_and_the_last_token_has_one(tmp_path: Path) -> None:
    task = with_roles(tmp_path, {"first": "wa", "before the last": -2, "second": 1})
    (mine,) = (pair for split in SPLITS for pair in task.list_pairs(split) if len(pair.roles) > 1)
    assert mine.roles == {"end": 3, "first": 0, "before the last": 2, "second": 1}
    assert all(
        pair.roles == {"end": 1}
        for split in SPLITS
        for pair in task.list_pairs(split)
        if pair is not mine
    )


@pytest.mark.parametrize(
    ("place", "problem"),
    [
        ("wb", "line 41: roles.x: the clean prompt has 'wb' 2 times; give the token's number"),
        ("wq", "the clean prompt has 'wq' 0 times"),
        ("", "the clean prompt has '' 0 times"),
        (" wa w", "no token ends where ' wa w' ends"),
        (4, "there is no token 4; the clean prompt has 4"),
        (-5, "there is no token -5"),
        (1.5, "line 41: roles.x"),
    ],
)
def test_roles_that_are_nowhere_are_refused(tmp_path: Path, place: object, problem: str) -> None:
    with pytest.raises(DataError) as caught:
        with_roles(tmp_path, {"x": place}, " wa wb wc wb" if place != " wa w" else " wa wb wc wd")
    assert problem in str(caught.value)
