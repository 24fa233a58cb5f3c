"""Curves as pictures. They need matplotlib, which is an extra."""

from __future__ import annotations

import importlib.util
import io
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from circuitgraph.errors import MissingExtraError
from circuitgraph.printable import make_printable

FORMATS = ("png", "svg", "pdf")
# Colours that colour-blind readers can tell apart (Paul Tol, "bright"). Dashes keep curves apart
# that lie on each other.
_STYLES = (("#4477AA", "-"), ("#EE6677", "--"), ("#228833", ":"), ("#AA3377", "-."))


class Line(NamedTuple):
    """One curve: the mean at each share of edges, and its 95 % interval."""

    mean: Sequence[float]
    low: Sequence[float]
    high: Sequence[float]


def check_plots() -> None:
    """Raise `MissingExtraError` unless pictures of curves can be drawn."""
    if importlib.util.find_spec("matplotlib") is None:
        raise MissingExtraError(
            "Pictures of curves need matplotlib, which is not installed. Install it with: "
            "pip install 'circuitgraph-interp[plots]'. A .csv file needs nothing."
        )


def draw_curve(
    shares: Sequence[float], lines: Mapping[str, Line], *, title: str, kind: str
) -> bytes:
    """Faithfulness over the share of edges, as a file of that kind.

    Args:
        shares: shares of edges, above 0, on a logarithmic axis: the curve changes most near 0.
        lines: four curves at most, by their names in the legend.
        kind: one of `FORMATS`.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    check_plots()
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 4.0), layout="constrained")
    FigureCanvasAgg(figure)  # needs no screen, and leaves matplotlib's global backend alone
    axes = figure.subplots()
    for (colour, dashes), (label, line) in zip(_STYLES, lines.items(), strict=False):
        axes.plot(shares, line.mean, dashes, marker="o", markersize=4, color=colour, label=label)
        axes.fill_between(shares, line.low, line.high, color=colour, alpha=0.2, linewidth=0)
    for height in (0.0, 1.0):
        axes.axhline(height, color="#999999", linewidth=0.8, linestyle="--", zorder=0)
    axes.set_xscale("log")
    axes.set_xlabel("share of edges")
    axes.set_ylabel("faithfulness")
    axes.set_title(make_printable(title), fontsize="medium", loc="left", parse_math=False)
    axes.legend(frameon=False)
    content = io.BytesIO()
    # Without a date, the same curve gives the same file.
    no_date = {"png": {}, "svg": {"Date": None}, "pdf": {"CreationDate": None}}
    figure.savefig(content, format=kind, dpi=160, metadata=no_date[kind])
    return content.getvalue()
