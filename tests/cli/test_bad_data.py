"""Files of pairs that cannot be used: every problem at once, by line number."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Ran, files_below

LONG = " ".join(["lake"] * 65)


def pair(
    clean: str = " dog chair moon dog", corrupted: str = " fish bread apple fish", **changes: object
) -> str:
    return json.dumps(
        {
            "clean": clean,
            "corrupted": corrupted,
            "answer": " chair",
            "distractor": " bread",
            **changes,
        }
    )


def discover(run: Callable[..., Ran], content: str | bytes, tmp_path: Path) -> Ran:
    file = tmp_path / "pairs.jsonl"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    ran = run("discover", "--data", file, "--model", "induction-2l", "--quiet")
    assert (ran.code, ran.out) == (2, "")
    assert files_below(tmp_path) == {"pairs.jsonl"}
    return ran


def test_all_problems_are_reported_together_by_line_number(
    run: Callable[..., Ran], tmp_path: Path
) -> None:
    lines = [
        pair(),
        "{not json",
        "",
        pair(corrupted=" fish bread"),
        pair(clean=" dog zzyzx moon dog"),
        pair(answer=" chair moon"),
        pair(distractor=" zzyzx"),
        pair(clean=LONG, corrupted=LONG),
        pair(answer=5000),
        json.dumps({"answer": " dog", "corrupted": " fish"}),
        pair(colour="red"),
        pair(clean="", corrupted=""),
        pair(distractor=" chair"),
        "[1, 2]",
    ]
    err = discover(run, "\n".join(lines), tmp_path).err
    expected = [
        "line 2: Invalid JSON",
        "line 4: clean has 4 tokens, corrupted 2; they must be equally long",
        "line 5: clean: unknown token at position 2 of 'dog zzyzx moon dog'",
        "line 6: the answer ' chair moon' has 2 tokens, the distractor ' bread' 1",
        "line 7: distractor ' zzyzx' is an unknown token",
        "line 8: 65 tokens exceed the model's context of 64",
        "line 8: the corrupted prompt is the clean one",
        "line 9: answer: there is no 5000 among the model's",
        "line 10: clean: Field required",
        "line 11: colour: Extra inputs are not permitted",
        "line 12: the clean prompt is empty",
        "line 13: answer and distractor are both ' chair'",
        "line 14: Input should be an object",
    ]
    assert [problem for problem in expected if problem not in err] == [], err
    assert "line 1:" not in err
    assert "line 3:" not in err
    assert '{"clean": "...", "corrupted": "...", "answer"' in err


@pytest.mark.parametrize(
    ("content", "phrase"),
    [
        ("", "the file is empty"),
        ("\n \n", "the file is empty"),
        (b"\xff\xfe\x00", "cannot be read"),
        (pair() + "\n" + pair(), "is too small"),
        (
            "\n".join([pair(), pair(distractor=None)]),
            "some lines have a distractor and some have none",
        ),
    ],
)
def test_file_as_a_whole(
    run: Callable[..., Ran], tmp_path: Path, content: str | bytes, phrase: str
) -> None:
    assert phrase in discover(run, content, tmp_path).err


def test_folder_in_place_of_a_file(run: Callable[..., Ran], tmp_path: Path) -> None:
    ran = run("discover", "--data", tmp_path, "--model", "induction-2l")
    assert ran.code == 2
    assert "cannot be read" in ran.err


def test_many_problems_are_cut_short(run: Callable[..., Ran], tmp_path: Path) -> None:
    err = discover(run, "nothing\n" * 50, tmp_path).err
    assert "line 20: " in err
    assert "line 21: " not in err
    assert "and 30 more" in err


def some_pairs(**changes: Any) -> str:
    words = (
        "moon",
        "lake",
        "fish",
        "bread",
        "apple",
        "door",
        "ship",
        "milk",
        "king",
        "hat",
        "cow",
        "bus",
    )
    return "\n".join(pair(clean=f" dog chair {word} dog", **changes) for word in words)


def test_metric_without_its_distractors(run: Callable[..., Ran], tmp_path: Path) -> None:
    (tmp_path / "pairs.jsonl").write_text(some_pairs(distractor=None))
    args = ("--data", "pairs.jsonl", "--model", "induction-2l", "--metric", "logit_difference")
    ran = run("discover", *args)
    assert ran.code == 2
    assert "'logit_difference' needs a distractor" in ran.err
    assert "log_probability" in ran.err
    assert files_below(tmp_path) == {"pairs.jsonl"}


def test_more_prompts_than_the_file_has(run: Callable[..., Ran], tmp_path: Path) -> None:
    (tmp_path / "pairs.jsonl").write_text(some_pairs())
    ran = run("discover", "--data", "pairs.jsonl", "--model", "induction-2l", "--limit", 12)
    assert ran.code == 2
    assert "has 12 pairs, " in ran.err
    assert " of them for discovery, but 12 were asked for" in ran.err
    assert files_below(tmp_path) == {"pairs.jsonl"}


def test_a_dozen_pairs_are_enough_and_a_folder_is_named_after_the_file(
    run: Callable[..., Ran], tmp_path: Path
) -> None:
    (tmp_path / "my pairs [v1].jsonl").write_text("\ufeff" + some_pairs())
    ran = run(
        "discover", "--data", "my pairs [v1].jsonl", "--model", "induction-2l", "--threshold", 30
    )
    assert ran.code == 0, ran.err
    assert (tmp_path / "runs" / "my-pairs--v1-" / "circuit.json").is_file()
    assert "Written to runs/my-pairs--v1-/" in ran.out
