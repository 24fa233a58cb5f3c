"""The record of a leaderboard's cell: one algorithm on one task in one model. A file each, so that
a run can resume.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from circuitgraph.catalog.folders import write_file
from circuitgraph.catalog.records import Interval, Record
from circuitgraph.errors import DataError


class Question(Record):
    """What is asked in every cell; a cell that was measured with another question is measured
    again.
    """

    task: str
    model: str
    weights_sha256: str
    algorithm: str
    arguments: dict[str, Any]
    metric: str
    ablation: str
    seed: int
    n_discovery: int
    n_evaluation: int
    n_bootstraps: int = Field(description="discoveries for the stability; 0: not measured")


class Score(Record):
    """How an algorithm did. None is what is not known or not defined.

    ``auroc``: promoted edges (writer to node) against the true circuit, where it is known;
        ``edge_auroc``: every edge
    into q, k and v by itself. ``size_95``: edges of the smallest circuit tried that is 95 %
        faithful. ``seconds``: of
    one discovery, compilation included where nothing was compiled before.
    """

    n_edges: int
    graph_edges: int
    faithfulness: Interval | None
    auroc: float | None
    edge_auroc: float | None
    cmd: Interval | None
    cpr: Interval | None
    random_cmd: Interval | None
    size_95: int | None
    stability: Interval | None
    seconds: float


class Cell(Record):
    """One algorithm on one task in one model: its score, or why there is none."""

    question: Question
    score: Score | None
    refused: str | None = Field(None, description="why the algorithm does not take this question")


def cell_file(folder: Path, question: Question) -> Path:
    """Where the cell of a question is kept."""
    names = (
        re.sub(r"[^\w-]+", "-", name)
        for name in (question.task, question.model, question.algorithm)
    )
    task, model, algorithm = names
    return folder / task / model / f"{algorithm}.json"


def read_cell(folder: Path, question: Question) -> Cell | None:
    """The cell of exactly this question; None if it was not measured yet.

    Raises:
        DataError: the file is damaged.
    """
    file = cell_file(folder, question)
    if not file.is_file():
        return None
    cell = _read(file)
    return cell if cell.question == question else None


def write_cell(folder: Path, cell: Cell) -> None:
    """Keep a cell; it appears whole or not at all.

    Raises:
        OutputError: the folder cannot be written.
    """
    write_file(cell_file(folder, cell.question), (cell.model_dump_json(indent=2) + "\n").encode())


def read_cells(folder: Path) -> list[Cell]:
    """All cells of a folder, by task, model and algorithm."""
    return [_read(file) for file in sorted(folder.glob("*/*/*.json"))]


def _read(file: Path) -> Cell:
    try:
        return Cell.model_validate_json(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, ValidationError) as error:
        raise DataError(
            f"{str(file)!r} is no cell of a leaderboard: remove it, and it will be measured again."
        ) from error
