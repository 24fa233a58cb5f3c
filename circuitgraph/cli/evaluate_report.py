"""What ``evaluate`` shows: a table of means, the true circuit level by level, the size curve."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rich.table import Table

from circuitgraph.catalog.single_files import check_file, write_file
from circuitgraph.cli.tables import format_interval, make_judgement_table, make_table
from circuitgraph.errors import ArgumentError, unknown_name

if TYPE_CHECKING:
    from circuitgraph.catalog.judgement_record import (
        CompletenessRecord,
        JudgementRecord,
        MinimalityRecord,
        SizeCurveRecord,
        TruthRecord,
    )

TABLE = "csv"


def check_curve_files(files: list[Path]) -> None:
    """Refuse endings that say neither table nor picture, pictures that cannot be drawn, and files
    that cannot be written.
    """
    from circuitgraph.drawing.plots import FORMATS, check_plots

    endings = [_read_ending(file) for file in files]
    for ending in endings:
        if ending not in (TABLE, *FORMATS):
            raise ArgumentError(str(unknown_name("format of a curve", ending, (TABLE, *FORMATS))))
    if set(endings) & set(FORMATS):
        check_plots()
    for file in files:
        check_file(file, is_own=_is_curve)


def write_curve_files(files: list[Path], record: SizeCurveRecord, title: str) -> None:
    """A curve into each of the files, as its ending says."""
    from circuitgraph.catalog.curve_files import format_size_table
    from circuitgraph.drawing.curve_plot import Line, draw_curve
    from circuitgraph.drawing.marks import mark_picture

    for file in files:
        kind = _read_ending(file)
        if kind == TABLE:
            write_file(file, format_size_table(record).encode(), is_own=_is_curve)
            continue
        lines = {}
        for selection in ("signed", "absolute"):
            points = [getattr(point, selection) for point in record.points]
            lines[f"{selection} selection"] = Line(
                [p.mean for p in points], [p.low for p in points], [p.high for p in points]
            )
        shares = [point.share for point in record.points]
        picture = draw_curve(shares, lines, title=title, kind=kind)
        write_file(file, mark_picture(picture, kind), is_own=_is_curve)


def _is_curve(content: bytes) -> bool:
    """Whether a file is a curve that this command wrote: a table or a picture."""
    from circuitgraph.catalog.curve_files import is_size_table
    from circuitgraph.drawing.marks import is_marked

    return is_size_table(content) or is_marked(content)


def _read_ending(file: Path) -> str:
    return file.suffix.removeprefix(".").lower()


def make_tables(judgement: JudgementRecord) -> list[Table]:
    """A judgement as tables, without the measures that were not taken."""
    table = make_judgement_table(judgement)
    for other in judgement.metrics:
        table.add_row(f"{other.metric} of the circuit", *format_interval(other.circuit))
        if other.metric != "kl":  # KL is the distance from the full model
            table.add_row(f"{other.metric} of the full model", *format_interval(other.full))
    has_parts = (
        judgement.faithfulness is None
        or judgement.minimality is None
        or judgement.minimality.n_edges > 0
    )
    if judgement.completeness is not None and has_parts:
        _add_completeness(table, judgement.completeness)
    if judgement.minimality is not None and has_parts:
        _add_minimality(table, judgement.minimality)
    if judgement.curve is not None:
        _add_areas(table, judgement.curve)
    if judgement.stability is not None:
        overlap = f"overlap of {judgement.stability.n_discoveries} bootstrapped discoveries"
        table.add_row(overlap, *format_interval(judgement.stability.overlap))
    tables = [table]
    if judgement.truth is not None:
        tables.append(_make_truth_table(judgement.truth))
    if judgement.curve is not None and judgement.curve.points:
        tables.append(_make_curve_table(judgement.curve))
    return tables


def _add_completeness(table: Table, completeness: CompletenessRecord) -> None:
    worst = completeness.worst
    if worst is None:
        table.add_row("incompleteness", *format_interval(None))
        return
    n = len(worst.edges)
    removed = " and ".join(worst.nodes) or f"{n} random edge{'s' * (n != 1)}"
    at_worst = f"incompleteness at worst, without {removed}"
    table.add_row(at_worst, *format_interval(worst.incompleteness))
    at_random = f"incompleteness without random parts, mean of {completeness.n_random}"
    table.add_row(at_random, *format_interval(completeness.random))


def _add_minimality(table: Table, minimality: MinimalityRecord) -> None:
    if minimality.least is None:
        table.add_row("least effect of an edge", *format_interval(None))
        return
    least = minimality.least
    table.add_row(f"least effect of an edge, {least.edge}", *format_interval(least.effect))
    n_unneeded = f"{len(minimality.unneeded)} of {minimality.n_edges}"
    table.add_row("edges that these prompts do not show to matter", n_unneeded, "")
    if minimality.level is not None:
        table.add_row("minimality", minimality.level, _describe_level(minimality))


def _describe_level(minimality: MinimalityRecord) -> str:
    """What a level of minimality says, in a few words."""
    n = len(minimality.removable)
    what = {
        "none": "each edge can go alone",
        "some": f"{n} of {minimality.n_edges} edges can go alone",
        "single": "no edge can go alone, but a pair can",
        "pairs": f"no edge, none of {minimality.n_pairs} pairs can go",
        "subsets": "no set of edges can go",
    }
    return what[minimality.level or "none"]


def _add_areas(table: Table, curve: SizeCurveRecord) -> None:
    rivals = f"of {curve.n_random} random rankings"
    table.add_row("CPR", *format_interval(curve.cpr))
    table.add_row(f"CPR {rivals}", *format_interval(curve.random_cpr))
    table.add_row("CMD", *format_interval(curve.cmd))
    table.add_row(f"CMD {rivals}", *format_interval(curve.random_cmd))
    size = "none" if curve.size_95 is None else f"{curve.size_95:,}"
    table.add_row("edges at 95 % faithfulness", size, "")


def _make_truth_table(truth: TruthRecord) -> Table:
    headings = ("", "true", "found", "of", "ROC AUC", "precision", "recall", "F1")
    table = make_table("Against the true circuit", *headings)
    for name, level in (
        ("edges", truth.edges),
        ("pairs of nodes", truth.promoted),
        ("nodes", truth.nodes),
    ):
        counts = (f"{n:,}" for n in (level.n_true, level.n_found, level.n))
        shares = (level.auroc, level.precision, level.recall, level.f1)
        table.add_row(
            name, *counts, *("undefined" if share is None else f"{share:.3f}" for share in shares)
        )
    return table


def _make_curve_table(curve: SizeCurveRecord) -> Table:
    headings = ("share", "edges", "signed", "95 % interval", "absolute", "95 % interval")
    table = make_table("Faithfulness over size", *headings, n_left=0)
    for point in curve.points:
        table.add_row(
            f"{point.share:.1%}",
            f"{point.n_edges:,}",
            *format_interval(point.signed),
            *format_interval(point.absolute),
        )
    return table
