"""A sweep's cells: which circuit was asked for, how it does on unseen prompts, and where it is."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import re
from collections.abc import Sequence
from typing import Any

from pydantic import Field, ValidationError

from circuitgraph.catalog.cell_files import CellFiles, CellQuestion
from circuitgraph.catalog.entry_names import EntryName, make_part
from circuitgraph.catalog.records import Interval, Record, Seed, Settings

_FOREIGN = re.compile(r"[^A-Za-z0-9._+=-]+")
_LONGEST = 80  # letters of a name before a hash stands for the rest


class SweepQuestion(CellQuestion):
    """All that a cell depends on, in words: it is sent to the process that answers it."""

    model: str
    loading: dict[str, Any] = Field({}, description="keywords of `load_model`")
    task: str = Field(description="name of a grammar, or path of a file of pairs")
    seed: Seed = 0
    algorithm: str
    arguments: Settings = Field({}, description="settings that were given; the rest is default")
    metric: str | None = Field(None, description="the task's own if None")
    ablation: str = "resample"
    n_prompts: int | None = None
    n_evaluation: int | None = None

    @property
    def entry(self) -> EntryName:
        """Where the catalog has its circuit: named after what differs among cells.

        Raises:
            ArgumentError: the model or the task gives no name of a folder.
        """
        return EntryName(
            make_part(self.model, "model"), make_part(self.task, "task"), self._make_slug()
        )

    @property
    def parts(self) -> tuple[str, str, str]:
        """The names of the folders and the file of its cell."""
        return self.entry.model, self.entry.task, self.entry.slug

    @property
    def digest(self) -> str:
        """Eight digits that another question does not have."""
        return _hash_text(self.model_dump_json())

    def _make_slug(self) -> str:
        words = [self.algorithm]
        words += [f"{name}-{value}" for name, value in sorted(self.arguments.items())]
        words += [self.metric] if self.metric else []
        words += [self.ablation] if self.ablation != "resample" else []
        words += [f"seed-{self.seed}"] if self.seed else []
        text = "-".join(words)
        slug = _FOREIGN.sub("-", text)[:_LONGEST].strip("._+=-")
        return slug if slug == text else f"{slug}-{_hash_text(text)}"


class SweepScore(Record):
    """A circuit's size and its faithfulness on prompts that its search did not see.

    ``random_faithfulness``: of ``n_random`` circuits of equal size. ``seconds``: of the search.
    """

    n_edges: int
    graph_edges: int
    metric: str
    n_evaluation: int
    faithfulness: Interval | None
    random_faithfulness: Interval | None
    n_random: int
    seconds: float


class SweepCell(Record):
    """One circuit of a sweep: its entry in the catalog and its score, or why there is none."""

    question: SweepQuestion
    entry: str
    score: SweepScore | None = None
    failed: str | None = Field(default=None, description="why there is no circuit")


class SweepRecord(Record):
    """The table of a sweep: ``sweep.json``."""

    cells: list[SweepCell]


SWEEP_CELLS = CellFiles(SweepCell, "sweep")
_NAMES = ("model", "task", "algorithm", "arguments", "metric", "ablation", "seed")
_COUNTS = ("n_edges", "graph_edges", "n_evaluation", "n_random", "seconds")
_INTERVALS = ("faithfulness", "random_faithfulness")
_HEADINGS = (
    "entry",
    *_NAMES,
    *_COUNTS,
    *(f"{name}{end}" for name in _INTERVALS for end in ("", "_low", "_high")),
    "failed",
)


def format_sweep_table(cells: Sequence[SweepCell]) -> str:
    """The cells as CSV, a line each; empty where something is not known."""
    text = io.StringIO()
    writer = csv.DictWriter(text, _HEADINGS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(map(_make_row, cells))
    return text.getvalue()


def is_sweep_table(content: bytes) -> bool:
    """Whether a file is a table that `format_sweep_table` made."""
    return content.startswith(",".join(_HEADINGS).encode())


def is_sweep_record(content: bytes) -> bool:
    """Whether a file is the record of a sweep."""
    try:
        SweepRecord.model_validate_json(content)
    except ValidationError:
        return False
    return True


def _make_row(cell: SweepCell) -> dict[str, Any]:
    row: dict[str, Any] = {name: getattr(cell.question, name) for name in _NAMES}
    row |= {"entry": cell.entry, "failed": cell.failed}
    row["arguments"] = json.dumps(cell.question.arguments, sort_keys=True)
    if cell.score is None:
        return row
    row |= {name: getattr(cell.score, name) for name in ("metric", *_COUNTS)}
    for name in _INTERVALS:
        if (interval := getattr(cell.score, name)) is not None:
            row |= {name: interval.mean, f"{name}_low": interval.low, f"{name}_high": interval.high}
    return row


def _hash_text(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]
