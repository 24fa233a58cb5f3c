"""Size curves as a table: one line for each size, for any program that reads CSV."""

from __future__ import annotations

import csv
import io

from circuitgraph.catalog.judgement import SizeCurveRecord, SizePoint

_FOUND = ("edges", "faithfulness", "faithfulness_low", "faithfulness_high")


def size_table(record: SizeCurveRecord) -> str:
    """The points of a curve as CSV: share and number of edges, then for signed and for absolute
    selection the edges that pruning left and the faithfulness with its interval.
    """
    text = io.StringIO()
    columns = [
        "share",
        "edges",
        *(f"{way}_{what}" for way in ("signed", "absolute") for what in _FOUND),
    ]
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(map(_row, record.points))
    return text.getvalue()


def _row(point: SizePoint) -> list[float | int]:
    row: list[float | int] = [point.share, point.n_edges]
    for kept, found in ((point.kept_signed, point.signed), (point.kept_absolute, point.absolute)):
        row += [kept, found.mean, found.low, found.high]
    return row
