"""Figures of matplotlib, which is an extra: how they are made and written."""

from __future__ import annotations

import importlib.util
import io
from typing import TYPE_CHECKING

from circuitgraph.errors import MissingExtraError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FORMATS = ("png", "svg", "pdf")
# Colours that colour-blind readers can tell apart (Paul Tol, "bright"). Dashes keep curves apart
# that lie on each other.
STYLES = (("#4477AA", "-"), ("#EE6677", "--"), ("#228833", ":"), ("#AA3377", "-."))


def check_plots(instead: str = "A .csv file needs nothing.") -> None:
    """Raise `MissingExtraError` unless plots can be drawn.

    Args:
        instead: what needs no matplotlib, for the message.
    """
    if importlib.util.find_spec("matplotlib") is None:
        raise MissingExtraError(
            "Plots need matplotlib, which is not installed. Install it with: "
            f"pip install 'circuitgraph-interp[plots]'. {instead}"
        )


def make_figure(width: float, height: float) -> Figure:
    """An empty figure of that size in inches.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    check_plots()
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)  # needs no screen, and leaves matplotlib's global backend alone
    return figure


def save_figure(figure: Figure, kind: str) -> bytes:
    """A figure as a file of that kind, one of `FORMATS`; the same figure gives the same file."""
    content = io.BytesIO()
    no_date = {"png": {}, "svg": {"Date": None}, "pdf": {"CreationDate": None}}
    figure.savefig(content, format=kind, dpi=160, metadata=no_date[kind])
    return content.getvalue()
