"""Text from files and hubs, made fit to show: on a terminal, in Markdown, in drawings.

A name in somebody's file may hold escape sequences that move the cursor, newlines that forge a
line, or megabytes. What is shown is always printable, on one line unless lines are wanted, and
short.
"""

from __future__ import annotations

LINE = 1_000  # letters of one line of a message
NAME = 200  # letters of a name in a table or a drawing


def make_printable(text: str, limit: int = LINE, *, keep: str = "") -> str:
    r"""The text with everything that is not printable as an escape (``\x1b``, ``\n``, ``\ufffe``).

    Args:
        limit: a longer text keeps its beginning and end, and says how long it was.
        keep: characters that stay as they are, such as a newline.
    """
    text = shorten_text(text, limit)
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in keep else _escape_letter(c) for c in text)


def make_lines_printable(text: str) -> str:
    """A message of several lines, each of which is printable and short."""
    return "\n".join(make_printable(line, keep="\t") for line in text.split("\n"))


def shorten_text(text: str, limit: int) -> str:
    """The text, or its beginning and end where it is longer than ``limit``."""
    if len(text) <= limit:
        return text
    half = limit // 2
    return f"{text[:half]} ... ({len(text):,} characters) ... {text[-half:]}"


def to_markdown_cell(text: str) -> str:
    """A text as a cell of a Markdown table, or a heading: no new column, no markup of HTML."""
    shown = make_printable(text).replace("\\", "\\\\").replace("|", "\\|")
    return shown.replace("<", "&lt;").replace("`", "\\`")


def _escape_letter(letter: str) -> str:
    return letter.encode("unicode_escape", "surrogatepass").decode("ascii")
