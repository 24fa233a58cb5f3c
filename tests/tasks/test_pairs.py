"""A user's own file of pairs: its halves, its supply, and its default metric."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from circuitgraph.api import draw, load_task
from circuitgraph.errors import ArgumentError, DataError
from circuitgraph.models.loading import LanguageModel
from circuitgraph.tasks.pairs import PairsTask
from tests.tasks.conftest import Words

WORDS = Words([f"w{chr(97 + i)}" for i in range(26)])
FILE = "pairs.jsonl"


def write(folder: Path, prompts: Sequence[str], distractor: str | None = " wb", answer: str = " wa") -> Path:
    lines = [
        {"clean": clean, "corrupted": " ".join(["wz"] * len(clean.split())), "answer": answer} for clean in prompts
    ]
    if distractor is not None:
        lines = [{**line, "distractor": distractor} for line in lines]
    (folder / FILE).write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    return folder / FILE


def prompts_of(n: int) -> list[str]:
    return [f" w{chr(97 + i // 26)} w{chr(97 + i % 26)}" for i in range(n)]


@settings(max_examples=40)
@given(n=st.integers(4, 60), one=st.integers(0, 99), other=st.integers(0, 99))
def test_halves_are_disjoint_whatever_the_seeds(
    tmp_path_factory: pytest.TempPathFactory, n: int, one: int, other: int
) -> None:
    file = write(tmp_path_factory.mktemp("pairs"), prompts_of(n))
    first, second = PairsTask(file, WORDS, 8, one), PairsTask(file, WORDS, 8, other)
    seen = {pair.clean for pair in first.available("discovery")}
    judged = {pair.clean for pair in second.available("evaluation")}
    assert seen.isdisjoint(judged)
    assert seen | judged == set(prompts_of(n))
    assert abs(len(seen) - len(judged)) <= 1
    assert (first.supply("discovery"), second.supply("evaluation")) == (len(seen), len(judged))


def test_seed_decides_the_order_only(tmp_path: Path) -> None:
    file = write(tmp_path, prompts_of(30))
    orders = [[pair.clean for pair in PairsTask(file, WORDS, 8, seed).available("discovery")] for seed in (0, 0, 1)]
    assert orders[0] == orders[1] != orders[2]
    assert sorted(orders[0]) == sorted(orders[2])


def test_order_of_lines_does_not_matter(tmp_path: Path) -> None:
    task = PairsTask(write(tmp_path, prompts_of(20)), WORDS, 8)
    before = task.pairs(10, "discovery")
    assert PairsTask(write(tmp_path, prompts_of(20)[::-1]), WORDS, 8).pairs(10, "discovery") == before


def test_pairs_of_one_prompt_stay_together(tmp_path: Path) -> None:
    task = PairsTask(write(tmp_path, prompts_of(10) * 3), WORDS, 8)
    assert task.supply("discovery") == task.supply("evaluation") == 15
    seen = {pair.clean for pair in task.available("discovery")}
    judged = {pair.clean for pair in task.available("evaluation")}
    assert seen.isdisjoint(judged)


def test_asking_for_too_many(tmp_path: Path) -> None:
    task = PairsTask(write(tmp_path, prompts_of(9)), WORDS, 8)
    assert len(task.pairs(5, "discovery")) == 5
    with pytest.raises(DataError, match="has 9 pairs, 4 of them for evaluation, but 5 were asked for"):
        task.prompts(5, "evaluation")


@pytest.mark.parametrize(("n", "expected"), [(None, 5), (2, 2)])
def test_default_number_is_what_there_is(tmp_path: Path, n: int | None, expected: int) -> None:
    assert len(draw(PairsTask(write(tmp_path, prompts_of(9)), WORDS, 8), "discovery", n, 50)) == expected


@pytest.mark.parametrize(("distractor", "metric"), [(" wb", "logit_difference"), (None, "log_probability")])
def test_default_metric_is_one_that_the_pairs_allow(tmp_path: Path, distractor: str | None, metric: str) -> None:
    task = PairsTask(write(tmp_path, prompts_of(4), distractor), WORDS, 8)
    assert task.metric == metric
    assert (task.prompts(2).distractor is None) == (distractor is None)


def test_negative_seed(tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match="seed is -1"):
        PairsTask(write(tmp_path, prompts_of(4)), WORDS, 8, seed=-1)


@pytest.mark.parametrize("space", ["\u2028", "\u0085"])
def test_only_a_newline_ends_a_line(tmp_path: Path, space: str) -> None:
    """Such characters may stand in JSON text as they are, and str.splitlines() takes them for line ends."""
    lines = [
        json.dumps({"clean": f" wa{space}w{c}", "corrupted": " wb wb", "answer": " wa"}, ensure_ascii=False)
        for c in "abcd"
    ]
    (tmp_path / FILE).write_text("\r\n".join(lines), encoding="utf-8", newline="")
    assert PairsTask(tmp_path / FILE, WORDS, 8).supply("discovery") == 2


def test_load_task_takes_a_path_or_its_text(tmp_path: Path, shipped: LanguageModel) -> None:
    (tmp_path / FILE).write_text(
        "\n".join(
            json.dumps({"clean": f" dog {word}", "corrupted": " cat fish", "answer": " lake"})
            for word in ("moon", "chair", "door", "bread")
        )
    )
    for name in (tmp_path / FILE, str(tmp_path / FILE)):
        task = load_task(name, shipped)
        assert (task.name, task.supply("discovery")) == ("pairs", 2)
        assert task.arguments["data"] == str(tmp_path / FILE)
