"""Fragments of HTML with nothing outside them: a section with its style, tables, lines of text.

Texts and names are data of others: all of them are made printable and escaped.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

from circuitgraph.printable import make_printable

_CLASS = "circuitgraph-reading"
_STYLE = f"""<style>
.{_CLASS} table {{ border-collapse: collapse; font-size: smaller; margin: 4px 0 }}
.{_CLASS} th, .{_CLASS} td {{ padding: 1px 8px; text-align: left; vertical-align: top }}
.{_CLASS} th.number, .{_CLASS} td.number {{ text-align: right }}
.{_CLASS} h4 {{ white-space: pre-line }}
.{_CLASS} p.text {{ font-family: monospace; white-space: pre-wrap; margin: 4px 0 }}
.{_CLASS} svg, .{_CLASS} img {{ max-width: 100%; height: auto }}
</style>"""


def wrap_section(parts: Iterable[str]) -> str:
    """Fragments as one section, with the style that they need."""
    return "\n".join([f'<section class="{_CLASS}">', _STYLE, *parts, "</section>"])


def show_text(text: str, keep: str = "") -> str:
    """A text as HTML shows it.

    Args:
        keep: characters that are not printable and stay all the same, such as a newline.
    """
    return escape(make_printable(text, keep=keep))


def draw_table(
    title: str,
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    numbers: frozenset[int] = frozenset(),
) -> str:
    """A table under its title, if it has one; its head is left out where no column has a name.

    Args:
        numbers: the columns that are aligned to the right.
    """
    heading = f"<h4>{show_text(title, keep=chr(10))}</h4>\n" if title else ""
    head = [_draw_row("th", columns, numbers)] if any(columns) else []
    body = [_draw_row("td", row, numbers) for row in rows]
    return "\n".join([f"{heading}<table>", *head, *body, "</table>"])


def _draw_row(tag: str, cells: Sequence[str], numbers: frozenset[int]) -> str:
    classes = (' class="number"' if i in numbers else "" for i in range(len(cells)))
    shown = (f"<{tag}{c}>{show_text(cell)}</{tag}>" for c, cell in zip(classes, cells, strict=True))
    return f"<tr>{''.join(shown)}</tr>"
