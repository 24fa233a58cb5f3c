"""What ``evaluate`` shows: one table of means, the true circuit level by level, and the curve over
sizes.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rich.table import Table

from circuitgraph.catalog.folders import write_file
from circuitgraph.cli.shared import interval, judgement
from circuitgraph.errors import ArgumentError, unknown_name

if TYPE_CHECKING:
    from circuitgraph.catalog.judgement_record import (
        CompletenessRecord,
        JudgementRecord,
        MinimalityRecord,
        SizeCurveRecord,
        StabilityRecord,
        TruthRecord,
    )

TABLE = "csv"


def check_curve_files(files: list[Path]) -> None:
    """Refuse endings that say neither table nor picture, and pictures that cannot be drawn."""
    from circuitgraph.drawing.curve_plot import FORMATS, check_plots

    kinds = [_kind(file) for file in files]
    for kind in kinds:
        if kind not in (TABLE, *FORMATS):
            raise ArgumentError(str(unknown_name("format of a curve", kind, (TABLE, *FORMATS))))
    if set(kinds) & set(FORMATS):
        check_plots()


def write_curve_files(files: list[Path], record: SizeCurveRecord, title: str) -> None:
    """A curve into each of the files, as its ending says."""
    from circuitgraph.catalog.curve_files import format_size_table
    from circuitgraph.drawing.curve_plot import Line, draw_curve

    for file in files:
        if _kind(file) == TABLE:
            write_file(file, format_size_table(record).encode())
            continue
        found = {
            f"{way} selection": [getattr(p, way) for p in record.points]
            for way in ("signed", "absolute")
        }
        lines = {
            name: Line([i.mean for i in points], [i.low for i in points], [i.high for i in points])
            for name, points in found.items()
        }
        shares = [point.share for point in record.points]
        write_file(file, draw_curve(shares, lines, title=title, kind=_kind(file)))


def _kind(file: Path) -> str:
    return file.suffix.removeprefix(".").lower()


def tables(found: JudgementRecord) -> list[Table]:
    """A judgement as tables, those of measures that were not taken left out."""
    shown = judgement(found)
    for other in found.metrics:
        shown.add_row(f"{other.metric} of the circuit", *interval(other.circuit))
        if other.metric != "kl":  # which is the distance from the full model
            shown.add_row(f"{other.metric} of the full model", *interval(other.full))
    has_parts = (
        found.faithfulness is None or found.minimality is None or found.minimality.n_edges > 0
    )
    if found.completeness is not None and has_parts:
        _completeness(shown, found.completeness)
    if found.minimality is not None and has_parts:
        _minimality(shown, found.minimality)
    if found.curve is not None:
        _areas(shown, found.curve)
    if found.stability is not None:
        _stability(shown, found.stability)
    more = [_truth(found.truth)] if found.truth is not None else []
    return [
        shown,
        *more,
        *([_points(found.curve)] if found.curve is not None and found.curve.points else []),
    ]


def _completeness(table: Table, found: CompletenessRecord) -> None:
    if found.worst is None:
        table.add_row("incompleteness", *interval(None))
        return
    n = len(found.worst.edges)
    where = (
        " and ".join(found.worst.nodes) if found.worst.nodes else f"{n} random edge{'s' * (n != 1)}"
    )
    table.add_row(
        f"incompleteness at worst, without {where}", *interval(found.worst.incompleteness)
    )
    table.add_row(
        f"incompleteness without random parts, mean of {found.n_random}", *interval(found.random)
    )


def _minimality(table: Table, found: MinimalityRecord) -> None:
    if found.least is None:
        table.add_row("least effect of an edge", *interval(None))
        return
    table.add_row(f"least effect of an edge, {found.least.edge}", *interval(found.least.effect))
    table.add_row(
        "edges that these prompts do not show to matter",
        f"{len(found.unneeded)} of {found.n_edges}",
        "",
    )


def _areas(table: Table, found: SizeCurveRecord) -> None:
    rivals = f"of {found.n_random} random rankings"
    table.add_row("CPR", *interval(found.cpr))
    table.add_row(f"CPR {rivals}", *interval(found.random_cpr))
    table.add_row("CMD", *interval(found.cmd))
    table.add_row(f"CMD {rivals}", *interval(found.random_cmd))
    table.add_row(
        "edges at 95 % faithfulness", "none" if found.size_95 is None else f"{found.size_95:,}", ""
    )


def _stability(table: Table, found: StabilityRecord) -> None:
    table.add_row(
        f"overlap of {found.n_discoveries} bootstrapped discoveries", *interval(found.overlap)
    )


def _truth(found: TruthRecord) -> Table:
    table = Table(
        title="Against the true circuit",
        title_justify="left",
        title_style="bold",
        box=None,
        pad_edge=False,
    )
    for heading in ("", "true", "found", "of", "ROC AUC", "precision", "recall", "F1"):
        table.add_column(heading, justify="left" if not heading else "right")
    for name, level in (
        ("edges", found.edges),
        ("pairs of nodes", found.promoted),
        ("nodes", found.nodes),
    ):
        counts = (f"{n:,}" for n in (level.n_true, level.n_found, level.n))
        shares = (level.auroc, level.precision, level.recall, level.f1)
        table.add_row(
            name, *counts, *("undefined" if share is None else f"{share:.3f}" for share in shares)
        )
    return table


def _points(found: SizeCurveRecord) -> Table:
    table = Table(
        title="Faithfulness over size",
        title_justify="left",
        title_style="bold",
        box=None,
        pad_edge=False,
    )
    for heading in ("share", "edges", "signed", "95 % interval", "absolute", "95 % interval"):
        table.add_column(heading, justify="right")
    for point in found.points:
        table.add_row(
            f"{point.share:.1%}",
            f"{point.n_edges:,}",
            *interval(point.signed),
            *interval(point.absolute),
        )
    return table
