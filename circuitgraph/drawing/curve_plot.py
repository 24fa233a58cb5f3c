"""Size curves as pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from circuitgraph.drawing.plots import STYLES, make_figure, save_figure
from circuitgraph.printable import make_printable


class Line(NamedTuple):
    """One curve: the mean at each share of edges, and its 95 % interval."""

    mean: Sequence[float]
    low: Sequence[float]
    high: Sequence[float]


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
    figure = make_figure(6.4, 4.0)
    axes = figure.subplots()
    for (colour, dashes), (label, line) in zip(STYLES, lines.items(), strict=False):
        axes.plot(shares, line.mean, dashes, marker="o", markersize=4, color=colour, label=label)
        axes.fill_between(shares, line.low, line.high, color=colour, alpha=0.2, linewidth=0)
    for height in (0.0, 1.0):
        axes.axhline(height, color="#999999", linewidth=0.8, linestyle="--", zorder=0)
    axes.set_xscale("log")
    axes.set_xlabel("share of edges")
    axes.set_ylabel("faithfulness")
    axes.set_title(make_printable(title), fontsize="medium", loc="left", parse_math=False)
    axes.legend(frameon=False)
    return save_figure(figure, kind)
