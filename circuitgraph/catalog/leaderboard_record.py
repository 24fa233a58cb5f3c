"""A leaderboard's cell: one algorithm on one task in one model. Each has a file, to resume from."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from circuitgraph.catalog.records import Interval, Record
from circuitgraph.catalog.single_files import check_file, write_file
from circuitgraph.errors import DataError
from circuitgraph.foreign import read_json


class Question(Record):
    """What a cell answers; a cell of another question than today's is measured again."""

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
    """How an algorithm did. A field is None where its value is not known or not defined.

    ``auroc``: promoted edges (writer to node) against the true circuit, where it is known;
    ``edge_auroc``: every edge into q, k and v by itself. ``size_95``: edges of the smallest circuit
    tried that is 95 % faithful. ``seconds``: time of one discovery, compilation included where
    nothing was compiled before.
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


def locate_cell(folder: Path, question: Question) -> Path:
    """The file of a question's cell."""
    names = (question.task, question.model, question.algorithm)
    task, model, algorithm = (re.sub(r"[^\w-]+", "-", name) for name in names)
    return folder / task / model / f"{algorithm}.json"


def read_cell(folder: Path, question: Question) -> Cell | None:
    """The cell of exactly this question; None if the cell was not measured yet.

    Raises:
        DataError: the file is damaged.
    """
    file = locate_cell(folder, question)
    if not file.is_file():
        return None
    cell = _parse_cell(file)
    return cell if cell.question == question else None


def write_cell(folder: Path, cell: Cell) -> None:
    """Write a cell's file, which appears whole or not at all.

    Raises:
        OutputError: the folder cannot be written, or something else than a cell is there.
    """
    file = locate_cell(folder, cell.question)
    write_file(file, (cell.model_dump_json(indent=2) + "\n").encode(), is_own=_is_cell)


def check_cell_folder(folder: Path) -> None:
    """Refuse a folder into which no cell could be written.

    Raises:
        OutputError: it cannot be made or written.
    """
    check_file(folder / "cell.json", is_own=_is_cell)


def _is_cell(content: bytes) -> bool:
    try:
        Cell.model_validate_json(content)
    except ValidationError:
        return False
    return True


def read_cells(folder: Path) -> list[Cell]:
    """All cells of a folder, by task, model and algorithm."""
    return [_parse_cell(file) for file in sorted(folder.glob("*/*/*.json"))]


def _parse_cell(file: Path) -> Cell:
    try:
        return Cell.model_validate(read_json(file))
    except (OSError, ValueError) as error:
        raise DataError(
            f"{str(file)!r} is no cell of a leaderboard: remove it, and it will be measured again."
        ) from error
