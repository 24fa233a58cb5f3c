"""Curves as files: circuits at many thresholds in a folder, and a size curve as CSV text."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from circuitgraph.catalog.files import write_circuit
from circuitgraph.catalog.folders import CIRCUIT_FOLDER, CURVE_FILE, TABLE_FILE
from circuitgraph.catalog.judgement_record import SizeCurveRecord, SizePoint
from circuitgraph.catalog.records import CurvePoint, CurveRecord, Interval
from circuitgraph.errors import ArgumentError
from circuitgraph.graph.circuit import Circuit

_INTERVALS = ("circuit", "faithfulness", "random_faithfulness")
_SIZE_COLUMNS = ("edges", "faithfulness", "faithfulness_low", "faithfulness_high")
_SIZE_HEADINGS = [
    *("share", "edges"),
    *(f"{way}_{column}" for way in ("signed", "absolute") for column in _SIZE_COLUMNS),
]

# Curves over thresholds


def name_circuit_folder(threshold: float) -> str:
    """The name of the folder of a threshold's circuit."""
    return f"{CIRCUIT_FOLDER}{threshold!r}"


def write_curve(record: CurveRecord, circuits: Sequence[Circuit], inside: Path) -> CurveRecord:
    """Write ``curve.json``, ``curve.csv`` and a folder for each circuit into an existing folder.

    Args:
        circuits: one for each point.

    Returns:
        The record with the circuits' folders, as it was written.

    Raises:
        ArgumentError: not as many circuits as points.
    """
    if len(circuits) != len(record.points):
        raise ArgumentError(
            f"There are {len(circuits)} circuits, but the curve has {len(record.points)} points."
        )
    points = [
        point.model_copy(update={"circuit": name_circuit_folder(point.threshold)})
        for point in record.points
    ]
    record = record.model_copy(update={"points": points})
    for point, circuit in zip(points, circuits, strict=True):
        folder = inside / name_circuit_folder(point.threshold)
        folder.mkdir()
        write_circuit(circuit, folder, point.evaluation)
    (inside / CURVE_FILE).write_text(record.model_dump_json(indent=2) + "\n", encoding="utf-8")
    with open(inside / TABLE_FILE, "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(_make_threshold_row(points[0])), lineterminator="\n")
        writer.writeheader()
        writer.writerows(map(_make_threshold_row, points))
    return record


def _make_threshold_row(point: CurvePoint) -> dict[str, float | int | str | None]:
    """A point as a line of the table; empty where faithfulness is undefined."""
    row: dict[str, float | int | str | None] = {
        "threshold": point.threshold,
        "edges": point.n_edges,
        "tested": point.n_tested,
        "discovery_loss": point.loss,
    }
    for name in _INTERVALS:
        interval: Interval | None = getattr(point.evaluation, name)
        label = "metric" if name == "circuit" else name
        row[label] = None if interval is None else interval.mean
        row[f"{label}_low"] = None if interval is None else interval.low
        row[f"{label}_high"] = None if interval is None else interval.high
    return row


# Curves over sizes


def format_size_table(record: SizeCurveRecord) -> str:
    """The points of a size curve as CSV, one line for each size.

    The columns are share and number of edges, then for signed and for absolute selection the edges
    that pruning left and the faithfulness with its interval.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_SIZE_HEADINGS)
    writer.writerows(map(_make_size_row, record.points))
    return text.getvalue()


def is_size_table(content: bytes) -> bool:
    """Whether a file is a table that `format_size_table` made."""
    return content.startswith(",".join(_SIZE_HEADINGS).encode())


def _make_size_row(point: SizePoint) -> list[float | int]:
    row: list[float | int] = [point.share, point.n_edges]
    selections = ((point.kept_signed, point.signed), (point.kept_absolute, point.absolute))
    for n_kept, faithfulness in selections:
        row += [n_kept, faithfulness.mean, faithfulness.low, faithfulness.high]
    return row
