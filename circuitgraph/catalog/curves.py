"""Curves on disk: ``curve.json`` with everything, ``curve.csv`` for a plot, one folder for each
threshold's circuit.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

from circuitgraph.catalog.files import write_circuit
from circuitgraph.catalog.folders import CIRCUIT_FOLDER, CURVE_FILE, TABLE_FILE
from circuitgraph.catalog.records import CurvePoint, CurveRecord, Interval
from circuitgraph.errors import ArgumentError
from circuitgraph.graph.circuit import Circuit

_INTERVALS = ("circuit", "faithfulness", "random_faithfulness")


def circuit_folder(threshold: float) -> str:
    """What the folder of a threshold's circuit is called."""
    return f"{CIRCUIT_FOLDER}{threshold!r}"


def write_curve(record: CurveRecord, circuits: Sequence[Circuit], inside: Path) -> CurveRecord:
    """Write a curve, its table and its circuits into an existing folder.

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
    placed = [
        point.model_copy(update={"circuit": circuit_folder(point.threshold)})
        for point in record.points
    ]
    record = record.model_copy(update={"points": placed})
    for point, circuit in zip(placed, circuits, strict=True):
        folder = inside / circuit_folder(point.threshold)
        folder.mkdir()
        write_circuit(circuit, folder, point.evaluation)
    (inside / CURVE_FILE).write_text(record.model_dump_json(indent=2) + "\n", encoding="utf-8")
    with open(inside / TABLE_FILE, "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(_row(placed[0])), lineterminator="\n")
        writer.writeheader()
        writer.writerows(map(_row, placed))
    return record


def _row(point: CurvePoint) -> dict[str, float | int | str | None]:
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
