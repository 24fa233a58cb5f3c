"""What patching shows, whatever put the values in: how much of a difference each patch moves."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from circuitgraph.analysis.measuring import (
    NO_DIFFERENCE,
    PROPERTIES,
    estimate_cell,
    estimate_share,
    rank_places,
)
from circuitgraph.catalog.analysis_record import Cell, HeatmapRecord, TableRecord
from circuitgraph.tasks.metrics import Metric

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
        """(patched - start) / (end - start) of the means over prompts; see `estimate_share`."""
        values = self.values[row, column, metric]
        return estimate_share(self.start[metric], self.end[metric], values)

    def compute_shares(self, metric: int = 0) -> Float[np.ndarray, "rows columns"]:
        """The share that each patch moves; NaN where both sides do not differ."""
        low, high = self.start[metric].mean(), self.end[metric].mean()
        if abs(high - low) < NO_DIFFERENCE:
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
    rows: list[list[Cell]] = []
    for row, column in rank_places(shares, min(top, int((shares > _ROUNDING).sum()))):
        cells = [patched.estimate_share(row, column, i) for i in range(len(patched.metrics))]
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
