"""What commands print on a terminal, as HTML: tables, trees, lines of text."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rich.console import Group
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from circuitgraph.drawing.html_parts import draw_table, show_text, wrap_section


def draw_parts(parts: Iterable[Any]) -> str:
    """Parts of a report as a section of a page."""
    return wrap_section(map(draw_part, parts))


def draw_part(part: Any) -> str:
    """A part of a report, which is a text or something of rich."""
    if isinstance(part, Table):
        return _draw_rich_table(part)
    if isinstance(part, Group):
        return "\n".join(map(draw_part, part.renderables))
    if isinstance(part, Tree):
        return f"<ul>{_draw_branch(part)}</ul>"
    text = _read_text(part)
    shown = show_text(text, keep="\n")
    strong = isinstance(part, Text) and "bold" in str(part.style)
    return f"<p>{f'<b>{shown}</b>' if strong else shown}</p>" if text else ""


def _draw_rich_table(table: Table) -> str:
    columns = [[_read_cell(cell) for cell in column.cells] for column in table.columns]
    headings = [_read_cell(column.header) if table.show_header else "" for column in table.columns]
    numbers = {i for i, column in enumerate(table.columns) if column.justify == "right"}
    title = "" if table.title is None else _read_text(table.title)
    return draw_table(title, headings, list(zip(*columns, strict=True)), frozenset(numbers))


def _draw_branch(tree: Tree) -> str:
    label = show_text(_read_text(tree.label), keep="\n").replace("\n", "<br/>")
    below = "".join(map(_draw_branch, tree.children))
    return f"<li>{label}{f'<ul>{below}</ul>' if below else ''}</li>"


def _read_cell(cell: Any) -> str:
    """What a cell says, on one line: terminals alone are so narrow that it has several."""
    return " ".join(_read_text(cell).split())


def _read_text(part: Any) -> str:
    return part.plain if isinstance(part, Text) else str(part)
