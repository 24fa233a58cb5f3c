"""What ``analyze`` shows: the tables of a reading as text, its pictures as a file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from circuitgraph.catalog.single_files import check_file, write_file
from circuitgraph.cli.tables import format_mean, make_table
from circuitgraph.drawing.marks import is_marked, mark_picture
from circuitgraph.errors import ArgumentError, unknown_name
from circuitgraph.printable import NAME, make_printable, shorten_text

if TYPE_CHECKING:
    from circuitgraph.catalog.analysis_record import AnalysisRecord, Cell, TableRecord


_HTML = "html"
_SIDE_BY_SIDE = 2  # columns whose means and intervals stand beside each other


def make_report(record: AnalysisRecord) -> list[RenderableType]:
    """An analysis, part by part."""
    parts: list[RenderableType] = [Text(describe_analysis(record), "bold")]
    for table in record.reading.tables:
        parts += ["", _make_table(table)]
    lines = [*record.reading.notes, f"It cannot tell: {record.cannot_tell}"]
    return [*parts, "", *(Text(make_printable(line)) for line in lines)]


def describe_analysis(record: AnalysisRecord) -> str:
    """Method, model and prompts in a line."""
    prompts, task = "by itself", record.task
    if task is not None:
        prompts = f"{task.n_prompts:,} prompts of {task.name}, seed {task.seed}"
    return make_printable(f"{record.method} of {record.model.name}, {prompts} ({record.source})")


def _make_table(table: TableRecord) -> Table:
    """A table as text; where many columns have intervals, each stands below its mean."""
    from circuitgraph.catalog.records import Interval

    columns = [[row[i] for row in table.rows] for i in range(len(table.columns))]
    of_text = [all(isinstance(cell, str) for cell in column) for column in columns]
    n_left = [*of_text, False].index(False)
    n_wide = sum(any(isinstance(cell, Interval) for cell in column) for column in columns)
    headings = (name.replace("_", " ") for name in table.columns)
    shown = make_table(table.title, *headings, n_left=n_left)
    for row in table.rows:
        shown.add_row(*(format_cell(cell, below=n_wide > _SIDE_BY_SIDE) for cell in row))
    return shown


def format_cell(cell: Cell, below: bool) -> str:
    from circuitgraph.catalog.records import Interval

    if cell is None:
        return "-"
    if isinstance(cell, Interval):
        numbers = (f"{number:.3g}" for number in (cell.mean, cell.low, cell.high))
        return "{}\n{} ..\n{}".format(*numbers) if below else format_mean(cell)
    if isinstance(cell, bool):
        return "yes" if cell else "no"
    if isinstance(cell, int):
        return f"{cell:,}"
    if isinstance(cell, float):
        return f"{cell + 0.0:.3f}" if cell == 0 or 1e-3 <= abs(cell) < 1e5 else f"{cell:.2e}"
    return cell


def check_picture(file: Path) -> None:
    """Refuse a picture that cannot be drawn, or a file that cannot be written."""
    from circuitgraph.drawing.plots import FORMATS, check_plots

    if (ending := _read_ending(file)) not in (*FORMATS, _HTML):
        problem = unknown_name("format of a picture", ending, (*FORMATS, _HTML))
        raise ArgumentError(f"{shorten_text(str(file), NAME)!r} cannot be drawn: {problem}")
    if ending != _HTML:
        check_plots("Tables, .html and --json need nothing.")
    check_file(file, is_own=is_marked)


def write_picture(record: AnalysisRecord, file: Path) -> bool:
    """All pictures of a reading in one file, or its tables and texts as HTML.

    Returns:
        Whether there was anything that such a file can show.
    """
    from circuitgraph.catalog.analysis_record import TextsRecord
    from circuitgraph.drawing.reading_html import draw_html
    from circuitgraph.drawing.reading_plots import draw_pictures

    kind, title = _read_ending(file), describe_analysis(record)
    pictures = [one for one in record.reading.pictures if not isinstance(one, TextsRecord)]
    if kind == _HTML:
        content = draw_html(record.reading, title, lambda cell: format_cell(cell, below=False))
    elif pictures:
        content = draw_pictures(pictures, title=title, kind=kind)
    else:
        return False
    write_file(file, mark_picture(content, kind), is_own=is_marked)
    return True


def _read_ending(file: Path) -> str:
    return file.suffix.removeprefix(".").lower()
