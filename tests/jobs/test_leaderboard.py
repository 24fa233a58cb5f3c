"""The leaderboard: cells are measured once, refusals are written down, and the tables say what the
cells say.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from circuitgraph.catalog.leaderboard_record import CELLS, Cell
from circuitgraph.catalog.records import Interval
from circuitgraph.cli.leaderboard_report import format_markdown
from circuitgraph.discovery.base import algorithms
from circuitgraph.errors import ArgumentError, DataError, UnknownNameError
from circuitgraph.jobs import leaderboard as board
from circuitgraph.jobs.leaderboard import (
    LeaderboardCase,
    LeaderboardSettings,
    list_cases,
    measure_cells,
)

INDUCTION = [LeaderboardCase("induction", "induction-2l")]
QUICK = LeaderboardSettings(n_discovery=8, n_evaluation=8, n_bootstraps=2)
NAMES = ["information-flow", "random"]


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Cell]]:
    folder = tmp_path_factory.mktemp("board")
    return folder, list(measure_cells(folder, INDUCTION, NAMES, QUICK))


def cmd_of(cell: Cell) -> Interval:
    assert cell.score is not None
    assert cell.score.cmd is not None
    return cell.score.cmd


def test_every_algorithm_has_a_cell_with_its_scores(measured: tuple[Path, list[Cell]]) -> None:
    folder, found = measured
    assert [cell.question.algorithm for cell in found] == NAMES
    assert sorted(CELLS.read_all(folder), key=lambda c: c.question.algorithm) == found
    for cell in found:
        assert cell.score is not None
        assert cell.score.graph_edges == 257
        assert cell.score.auroc is None, "nobody knows this model's true circuit"
        assert cell.score.stability is not None
    flow, random = (cmd_of(cell).mean for cell in found)
    assert flow < random


def test_nothing_is_measured_twice(
    measured: tuple[Path, list[Cell]], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, found = measured
    asked: list[Any] = []
    monkeypatch.setattr(
        board, "_measure_question", lambda question, *_: asked.append(question) or found[0]
    )
    assert list(measure_cells(folder, INDUCTION, NAMES, QUICK)) == found
    assert asked == []


def test_another_question_is_measured_anew(
    measured: tuple[Path, list[Cell]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, found = measured
    monkeypatch.setattr(
        board,
        "_measure_question",
        lambda question, *_: Cell(question=question, score=found[0].score, refused=None),
    )
    for seed in (0, 1, 1):
        list(
            measure_cells(
                tmp_path,
                INDUCTION,
                ["random"],
                LeaderboardSettings(n_discovery=8, n_bootstraps=0, seed=seed),
            )
        )
    assert [cell.question.seed for cell in CELLS.read_all(tmp_path)] == [1]


def test_a_refusal_is_written_down_and_the_others_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: object, metric: Any, ablation: Any) -> None:
        raise ArgumentError(f"not with {metric.name} and {ablation.name}")

    monkeypatch.setattr(algorithms["eap"], "check_metric", refuse)
    monkeypatch.setattr(
        board, "_score_algorithm", lambda *_: (_ for _ in ()).throw(DataError("no prompts"))
    )
    found = list(measure_cells(tmp_path, INDUCTION, ["eap", "random"], QUICK))
    assert [cell.refused for cell in found] == [
        "not with logit_difference and resample",
        "no prompts",
    ]
    assert "not measured: not with logit_difference" in format_markdown(found)


def test_the_markdown_has_a_row_for_each_cell_and_a_summary(
    measured: tuple[Path, list[Cell]],
) -> None:
    _, found = measured
    other = [
        cell.model_copy(update={"question": cell.question.model_copy(update={"task": "other"})})
        for cell in found
    ]
    text = format_markdown([*found, *other])
    assert text.count("|information-flow") == text.count("|random") == 3
    assert "## Medians over 2 cases" in text
    assert "## induction in induction-2l" in text
    cmd = cmd_of(found[0])
    assert f"{cmd.mean:.3f} [{cmd.low:.3f}, {cmd.high:.3f}]" in text


def test_cases() -> None:
    assert LeaderboardCase("induction", "induction-2l") in list_cases()
    assert list_cases(["induction"], ["induction-2l"]) == INDUCTION
    with pytest.raises(ArgumentError, match="induction-2l"):
        list_cases(["induction"], ["addition"])
    assert list_cases(["induction"], ["gpt2"]) == [LeaderboardCase("induction", "gpt2")]
    with pytest.raises(ArgumentError, match="induction-2l"):
        list_cases(None, ["gpt2"])
    with pytest.raises(UnknownNameError, match="'induction'"):
        list_cases(["inductions"])
    with pytest.raises(UnknownNameError, match="'random'"):
        list(measure_cells(Path("never made"), INDUCTION, ["randomm"]))


@pytest.mark.parametrize(
    "wrong", [{"n_bootstraps": 1}, {"n_bootstraps": -2}, {"n_discovery": 0}, {"n_evaluation": 1}]
)
def test_settings_that_make_no_sense(wrong: dict[str, Any]) -> None:
    with pytest.raises(ArgumentError):
        LeaderboardSettings(**wrong)


def test_a_damaged_cell_is_named(tmp_path: Path) -> None:
    file = tmp_path / "induction" / "induction-2l" / "random.json"
    file.parent.mkdir(parents=True)
    file.write_text(json.dumps({"question": 1}))
    with pytest.raises(DataError, match=r"random\.json.*remove it"):
        list(measure_cells(tmp_path, INDUCTION, ["random"], QUICK))
