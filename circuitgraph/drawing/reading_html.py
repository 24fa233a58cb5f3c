"""An analysis as a fragment of HTML, with nothing outside it: tables, and texts in colour.

Tokens and names are data of others: all of them are made printable and escaped.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from html import escape

import numpy as np

from circuitgraph.catalog.analysis_record import Cell, Reading, TableRecord, TextRecord, TextsRecord
from circuitgraph.printable import make_printable

_CLASS = "circuitgraph-reading"
_STYLE = f"""<style>
.{_CLASS} table {{ border-collapse: collapse; font-size: smaller }}
.{_CLASS} th, .{_CLASS} td {{ padding: 1px 8px; text-align: left; vertical-align: top }}
.{_CLASS} p.text {{ font-family: monospace; white-space: pre-wrap; margin: 4px 0 }}
</style>"""
_ABOVE, _BELOW = "238,102,119", "68,119,170"  # red and blue that colour-blind readers tell apart


def draw_html(reading: Reading, title: str, format_cell: Callable[[Cell], str]) -> bytes:
    """Tables, coloured texts and notes of a reading; other pictures are left out.

    Args:
        format_cell: how a cell of a table is written as text.
    """
    parts = [f'<section class="{_CLASS}">', _STYLE, f"<h3>{_show(title)}</h3>"]
    parts += [_draw_table(table, format_cell) for table in reading.tables]
    parts += [_draw_texts(one) for one in reading.pictures if isinstance(one, TextsRecord)]
    parts += [f"<p>{_show(note)}</p>" for note in reading.notes]
    return "\n".join([*parts, "</section>", ""]).encode()


def _show(text: str) -> str:
    return escape(make_printable(text))


def _draw_table(table: TableRecord, format_cell: Callable[[Cell], str]) -> str:
    head = _draw_row("th", table.columns)
    body = "\n".join(_draw_row("td", [format_cell(cell) for cell in row]) for row in table.rows)
    return f"<h4>{_show(table.title)}</h4>\n<table>\n{head}\n{body}\n</table>"


def _draw_row(tag: str, cells: Sequence[str]) -> str:
    shown = "".join(f"<{tag}>{_show(cell)}</{tag}>" for cell in cells)
    return f"<tr>{shown}</tr>"


def _draw_texts(texts: TextsRecord) -> str:
    sizes = [abs(value) for text in texts.texts for value in text.values if value is not None]
    largest = max(sizes, default=0.0)
    lines = "\n".join(_draw_text(text, largest) for text in texts.texts)
    return f"<h4>{_show(texts.title)}</h4>\n{lines}"


def _draw_text(text: TextRecord, largest: float) -> str:
    spans = [
        _draw_token(token, value, largest)
        for token, value in zip(text.tokens, text.values, strict=True)
    ]
    return f'<p class="text">{"".join(spans)}</p>'


def _draw_token(token: str, value: float | None, largest: float) -> str:
    """A token in red where its number is above 0, in blue below, the paler the smaller."""
    if value is None:
        return _show(token)
    share = 0.0 if largest == 0 else float(np.round(abs(value) / largest, 2))
    colour = _ABOVE if value > 0 else _BELOW
    style = f"background:rgba({colour},{share:g})"
    return f'<span style="{style}" title="{value:.4g}">{_show(token)}</span>'
