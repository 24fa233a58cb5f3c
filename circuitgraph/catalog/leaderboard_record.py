"""A leaderboard's cell: one algorithm on one task in one model. Each has a file, to resume from."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from circuitgraph.catalog.cell_files import CellFiles, CellQuestion
from circuitgraph.catalog.records import Interval, Record


class Question(CellQuestion):
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

    @property
    def parts(self) -> tuple[str, str, str]:
        """The names of the folders and the file of its cell."""
        return self.task, self.model, self.algorithm


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


CELLS = CellFiles(Cell, "leaderboard")
