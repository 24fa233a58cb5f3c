"""An analysis as a fragment of HTML: its tables, and its texts in colour."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from circuitgraph.catalog.analysis_record import Cell, Reading, TableRecord, TextRecord, TextsRecord
from circuitgraph.drawing.html_parts import draw_table, show_text, wrap_section

_ABOVE, _BELOW = "238,102,119", "68,119,170"  # red and blue that colour-blind readers tell apart


def draw_html(reading: Reading, title: str, format_cell: Callable[[Cell], str]) -> bytes:
    """Tables, coloured texts and notes of a reading; other pictures are left out.

    Args:
        format_cell: how a cell of a table is written as text.
    """
    parts = [f"<h3>{show_text(title)}</h3>", *draw_reading(reading, format_cell)]
    return f"{wrap_section(parts)}\n".encode()


def draw_reading(reading: Reading, format_cell: Callable[[Cell], str]) -> list[str]:
    """What `draw_html` puts into its section, below the title."""
    parts = [draw_cells(table, format_cell) for table in reading.tables]
    parts += [_draw_texts(one) for one in reading.pictures if isinstance(one, TextsRecord)]
    return [*parts, *(f"<p>{show_text(note)}</p>" for note in reading.notes)]


def draw_cells(table: TableRecord, format_cell: Callable[[Cell], str]) -> str:
    """A table of a reading, its numbers aligned to the right."""
    rows = [[format_cell(cell) for cell in row] for row in table.rows]
    numbers = frozenset(
        i
        for i in range(len(table.columns))
        if not all(isinstance(row[i], str) for row in table.rows)
    )
    return draw_table(table.title, table.columns, rows, numbers)


def _draw_texts(texts: TextsRecord) -> str:
    sizes = [abs(value) for text in texts.texts for value in text.values if value is not None]
    largest = max(sizes, default=0.0)
    lines = "\n".join(_draw_text(text, largest) for text in texts.texts)
    return f"<h4>{show_text(texts.title)}</h4>\n{lines}"


def _draw_text(text: TextRecord, largest: float) -> str:
    spans = [
        _draw_token(token, value, largest)
        for token, value in zip(text.tokens, text.values, strict=True)
    ]
    return f'<p class="text">{"".join(spans)}</p>'


def _draw_token(token: str, value: float | None, largest: float) -> str:
    """A token in red where its number is above 0, in blue below, the paler the smaller."""
    if value is None:
        return show_text(token)
    share = 0.0 if largest == 0 else float(np.round(abs(value) / largest, 2))
    colour = _ABOVE if value > 0 else _BELOW
    style = f"background:rgba({colour},{share:g})"
    return f'<span style="{style}" title="{value:.4g}">{show_text(token)}</span>'
