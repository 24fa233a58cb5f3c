"""Graphviz drawings as files, laid out by the ``dot`` program; without it, as DOT text."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from html import escape
from pathlib import Path

import graphviz

from circuitgraph.catalog.folders import PICTURES, holds_record
from circuitgraph.catalog.single_files import check_file, write_file
from circuitgraph.drawing.marks import is_marked, mark_picture
from circuitgraph.errors import ArgumentError, OutputError, unknown_name
from circuitgraph.printable import NAME, make_printable

FORMATS = ("dot", "svg", "pdf", "png")
INSTALL_HINT = (
    "Graphviz is not installed, so only the DOT text was written. Install it (apt install "
    "graphviz, brew install graphviz, conda install graphviz), then run: circuitgraph render "
    "{where}"
)
_LAYOUT_SECONDS = 60.0  # a layout that takes longer is given up: the drawing has too many edges


class LayoutError(OutputError):
    """Graphviz could not draw a circuit. Write ``.dot`` instead, or draw fewer edges."""


def save_drawing(dot: graphviz.Digraph, path: str | Path) -> Path:
    """Lay a drawing out into a file, in the format that the file's ending says.

    Returns:
        The file written: with another ending than asked for (``.dot``) if Graphviz is not
            installed.

    Raises:
        ArgumentError: another ending than those of `FORMATS`.
        OutputError: the file cannot be written, or is there and not ours.
        LayoutError: Graphviz failed, or needed more than a minute.
    """
    path = Path(path)
    kind = check_format(path)
    if kind == "dot" or not has_graphviz():
        kind, content, path = "dot", dot.source.encode(), path.with_suffix(".dot")
    else:
        content = _run_graphviz(dot, kind, _LAYOUT_SECONDS)
    write_file(path, mark_picture(content, kind), is_own=recognise_drawings(path))
    return path


def check_drawing(path: Path) -> None:
    """Refuse a file that `save_drawing` could not write, before there is a drawing.

    Raises:
        ArgumentError: another ending than those of `FORMATS`.
        OutputError: the file cannot be written, or is there and not ours.
    """
    check_format(path)
    path = path if has_graphviz() else path.with_suffix(".dot")
    check_file(path, is_own=recognise_drawings(path))


def recognise_drawings(path: Path) -> Callable[[bytes], bool]:
    """What says of the content of that file whether it is a drawing of ours."""
    # The pictures of a stored circuit belong to it, whatever version drew them.
    belongs = path.name in PICTURES and holds_record(path.parent)
    return lambda content: belongs or is_marked(content)


def to_label(text: str) -> str:
    """A text as Graphviz takes it in a label like HTML: no markup, nothing that XML cannot hold."""
    lines = [escape(make_printable(line, NAME)) for line in text.split("\n")]
    return "<BR/>".join(lines)


def check_format(path: Path) -> str:
    """The format that a file's ending says.

    Raises:
        ArgumentError: it is none of `FORMATS`.
    """
    kind = path.suffix.removeprefix(".").lower()
    if kind not in FORMATS:
        raise ArgumentError(str(unknown_name("picture format", kind, FORMATS)))
    return kind


def has_graphviz() -> bool:
    """Whether the ``dot`` program can be found."""
    return shutil.which("dot") is not None


def draw_svg(dot: graphviz.Digraph, seconds: float) -> str:
    """A drawing as an SVG element, to be put into a page.

    Raises:
        LayoutError: Graphviz is not installed, failed, or needed longer than that.
    """
    if not has_graphviz():
        raise LayoutError("Graphviz is not installed.")
    svg = _run_graphviz(dot, "svg", seconds).decode()
    return svg[svg.index("<svg") :]  # without what stands before it in a file


def _run_graphviz(dot: graphviz.Digraph, kind: str, seconds: float) -> bytes:
    remedy = "Draw fewer edges (a higher threshold, or --prune), or write a .dot file."
    try:
        done = subprocess.run(  # noqa: S603
            ["dot", f"-T{kind}"],  # noqa: S607
            input=dot.source.encode(),
            capture_output=True,
            check=True,
            timeout=seconds,
        )
    except subprocess.TimeoutExpired as error:
        raise LayoutError(f"Graphviz found no layout within {seconds:g} s. {remedy}") from error
    except subprocess.CalledProcessError as error:
        reason = error.stderr.decode(errors="replace").strip()
        raise LayoutError(f"Graphviz failed: {make_printable(reason)}. {remedy}") from error
    return done.stdout
