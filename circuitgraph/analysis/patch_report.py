"""What patching shows, whatever put the values in: how much of a difference each patch moves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from circuitgraph.analysis.measuring import PROPERTIES, estimate_cell
from circuitgraph.catalog.analysis_record import Cell, HeatmapRecord, TableRecord
from circuitgraph.evaluation.intervals import estimate_from_means
from circuitgraph.tasks.metrics import Metric

_NO_DIFFERENCE = 1e-6  # of both sides' means, below which no share can be said
_ROUNDING = 1e-6  # a share below which nothing was moved


@dataclass(frozen=True)
class PatchValues:
    """The metrics of patched runs, and of both sides.

    Attributes:
        rows: names of what is patched. columns: names of the places at which it is.
        values: of each patch, [rows, columns, metrics, batch].
        start, end: the metrics of the run that is patched and of that which values come from.
        moves: what a patch does in words, such as ``restored``.
    """

    rows: tuple[str, ...]
    columns: tuple[str, ...]
    metrics: tuple[Metric, ...]
    values: Float[np.ndarray, "rows columns metrics batch"]
    start: Float[np.ndarray, "metrics batch"]
    end: Float[np.ndarray, "metrics batch"]
    moves: str

    def estimate_share(self, row: int, column: int, metric: int) -> Cell:
        """(patched - start) / (end - start) of the means over prompts; None where both sides do not
        differ.
        """
        samples = np.stack([self.start[metric], self.end[metric], self.values[row, column, metric]])
        low, high, patched = samples.mean(axis=1)
        if abs(high - low) < _NO_DIFFERENCE:
            return None
        if samples.shape[1] < 2:
            return float((patched - low) / (high - low))
        with np.errstate(divide="ignore", invalid="ignore"):
            return estimate_from_means(lambda m: (m[2] - m[0]) / (m[1] - m[0]), samples, 0)

    def compute_shares(self, metric: int = 0) -> Float[np.ndarray, "rows columns"]:
        """The share that each patch moves; NaN where both sides do not differ."""
        low, high = self.start[metric].mean(), self.end[metric].mean()
        if abs(high - low) < _NO_DIFFERENCE:
            return np.full(self.values.shape[:2], np.nan)
        return (self.values[:, :, metric].mean(axis=2) - low) / (high - low)


def make_side_table(patched: PatchValues, start: str, end: str) -> TableRecord:
    """The metrics of both sides, with what to know of each metric."""
    rows: list[list[Cell]] = []
    for metric, one, other in zip(patched.metrics, patched.start, patched.end, strict=True):
        cells = [estimate_cell(sample, share=metric.is_share) for sample in (one, other)]
        rows.append([metric.name, PROPERTIES[metric.name], *cells])
    return TableRecord(
        title="Both sides, by every metric: means over prompts, 95 % intervals",
        columns=["metric", "what it sees", start, end],
        rows=rows,
    )


def make_share_table(patched: PatchValues, top: int) -> TableRecord:
    """The patches that move most by the first metric, and what they move by the others."""
    shares = np.nan_to_num(np.abs(patched.compute_shares()))
    order = np.argsort(-shares, axis=None, kind="stable")
    order = order[shares.ravel()[order] > _ROUNDING][:top]
    rows: list[list[Cell]] = []
    for row, column in zip(*np.unravel_index(order, shares.shape), strict=True):
        cells = [
            patched.estimate_share(int(row), int(column), i) for i in range(len(patched.metrics))
        ]
        rows.append([patched.rows[row], patched.columns[column], *cells])
    return TableRecord(
        title=f"The share {patched.moves} by each patch, by every metric: the {len(rows)} of "
        f"{shares.size:,} that move most by {patched.metrics[0].name}",
        columns=["patched", "at", *(metric.name for metric in patched.metrics)],
        rows=rows,
    )


def draw_shares(patched: PatchValues, row_axis: str) -> HeatmapRecord:
    """All patches by the first metric."""
    return HeatmapRecord(
        title=f"The share of {patched.metrics[0].name} {patched.moves} by each patch",
        unit=f"share {patched.moves}",
        row_axis=row_axis,
        column_axis="position",
        row_labels=patched.rows,
        column_labels=patched.columns,
        values=patched.compute_shares().tolist(),
    )


def join_batches(parts: Sequence[Float[np.ndarray, "*axes batch"]]) -> np.ndarray:
    """Values of several batches, whose last axis is prompts, in float64."""
    return np.concatenate([np.asarray(part, np.float64) for part in parts], axis=-1)
