"""How a notebook shows what was measured: the tables of the commands, and their pictures."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

from rich.console import Group

from circuitgraph.catalog.analysis_record import (
    AnalysisRecord,
    Cell,
    Reading,
    TableRecord,
    TextsRecord,
)
from circuitgraph.catalog.compile_record import ParityRecord
from circuitgraph.catalog.judgement_record import JudgementRecord
from circuitgraph.catalog.records import CurveRecord, EvaluationRecord
from circuitgraph.catalog.scrub_record import ScrubRecord
from circuitgraph.catalog.steering_record import SteeringRecord
from circuitgraph.cli import scrub_report, steer_report
from circuitgraph.cli.analyze_report import describe_analysis, format_cell
from circuitgraph.cli.compile import make_parity_table
from circuitgraph.cli.discover_report import make_curve_table
from circuitgraph.cli.evaluate_report import make_tables
from circuitgraph.cli.tables import make_judgement_table
from circuitgraph.drawing.graphviz_output import LayoutError, draw_svg
from circuitgraph.drawing.html_parts import show_text, wrap_section
from circuitgraph.drawing.reading_html import draw_cells, draw_reading
from circuitgraph.drawing.reading_plots import draw_pictures
from circuitgraph.errors import MissingExtraError
from circuitgraph.notebook.parts import draw_part, draw_parts
from circuitgraph.showable import pictures

if TYPE_CHECKING:
    from circuitgraph.jobs.steer import Steering
    from circuitgraph.jobs.sweep import Curve

_SECONDS = 10.0  # of a layout


@pictures.register("EvaluationRecord")
def draw_evaluation(record: EvaluationRecord) -> str:
    """The metric of model, circuit and nothing, and the faithfulness."""
    return draw_parts([make_judgement_table(record)])


@pictures.register("JudgementRecord")
def draw_judgement(record: JudgementRecord) -> str:
    """All measures that were taken."""
    return draw_parts(make_tables(record))


@pictures.register("CurveRecord")
def draw_curve_record(record: CurveRecord) -> str:
    """Size and quality of each threshold."""
    return draw_parts([make_curve_table(record)])


@pictures.register("Curve")
def draw_curve(curve: Curve) -> str:
    """Size and quality of each threshold."""
    return draw_curve_record(curve.record)


@pictures.register("ParityRecord")
def draw_parity(record: ParityRecord) -> str:
    """How far the compiled model is from others' code, and the verdict."""
    return draw_parts([make_parity_table(record)])


@pictures.register("ScrubRecord")
def draw_scrub(record: ScrubRecord) -> str:
    """What ``circuitgraph scrub`` prints, its tree of claims as a drawing too, if there can be one.

    The tree as text is long: it opens on a click.
    """
    parts = [
        f"<details><summary>the claims one by one</summary>{draw_part(part)}</details>"
        if isinstance(part, Group)
        else draw_part(part)
        for part in scrub_report.make_report(record)
    ]
    try:
        parts.append(draw_svg(scrub_report.make_claim_drawing(record), _SECONDS))
    except LayoutError as error:
        parts.append(f"<p>{show_text(str(error))}</p>")
    return wrap_section(parts)


@pictures.register("SteeringRecord")
def draw_steering_record(record: SteeringRecord) -> str:
    """The units, the metric, and the first prompts with their likeliest tokens."""
    return draw_parts(steer_report.make_report(record))


@pictures.register("Steering")
def draw_steering(steering: Steering) -> str:
    """What became of prompts."""
    return draw_steering_record(steering.record)


@pictures.register("AnalysisRecord")
def draw_analysis(record: AnalysisRecord) -> str:
    """Tables and pictures of an analysis, and what it cannot tell."""
    title = f"<h3>{show_text(describe_analysis(record))}</h3>"
    limits = f"<p>It cannot tell: {show_text(record.cannot_tell)}</p>"
    return wrap_section([title, *_draw_results(record.reading), limits])


@pictures.register("Reading")
def draw_bare_reading(reading: Reading) -> str:
    """Tables and pictures of a reading, such as a report on units."""
    return wrap_section(_draw_results(reading))


@pictures.register("TableRecord")
def draw_table_record(table: TableRecord) -> str:
    """One table of a reading."""
    return wrap_section([draw_cells(table, _write_cell)])


def _draw_results(reading: Reading) -> list[str]:
    return [*draw_reading(reading, _write_cell), _draw_plots(reading)]


def _write_cell(cell: Cell) -> str:
    return format_cell(cell, below=False)


def _draw_plots(reading: Reading) -> str:
    """Heatmaps, curves and points as one picture; without matplotlib, how to get them."""
    plots = [one for one in reading.pictures if not isinstance(one, TextsRecord)]
    if not plots:
        return ""
    try:
        picture = draw_pictures(plots, title="", kind="png")
    except MissingExtraError as error:
        return f"<p>{show_text(str(error))}</p>"
    width = int.from_bytes(picture[16:20]) // 2  # of the PNG's header; fit for print, so too large
    content = base64.b64encode(picture).decode()
    return f'<img width="{width}" src="data:image/png;base64,{content}"/>'
