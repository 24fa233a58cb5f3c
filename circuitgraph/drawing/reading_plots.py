"""Pictures of analyses: heatmaps and curves, each drawn in one way whatever method gave it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from circuitgraph.catalog.analysis_record import (
    CurvesRecord,
    DrawnPicture,
    HeatmapRecord,
    ScatterRecord,
)
from circuitgraph.drawing.plots import STYLES, make_figure, save_figure
from circuitgraph.printable import NAME, make_printable

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_MOST_LABELS = 48  # of an axis; beyond that some are left out
_CELL, _LEAST, _MOST = 0.22, 2.5, 14.0  # inches
_MARKERS = ("o", "s", "^", "x")  # of groups for which there is no colour left


def draw_pictures(pictures: Sequence[DrawnPicture], *, title: str, kind: str) -> bytes:
    """All pictures of a reading below each other, as a file of that kind.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    sizes = [_choose_size(picture) for picture in pictures]
    heights = [height for _, height in sizes]
    figure = make_figure(max(width for width, _ in sizes), sum(heights) + 0.4)
    figure.suptitle(_show(title), fontsize="medium", parse_math=False)
    grid = figure.subplots(len(pictures), 1, squeeze=False, height_ratios=heights)
    for axes, picture in zip(grid[:, 0], pictures, strict=True):
        axes.set_title(_show(picture.title), fontsize="small", loc="left", parse_math=False)
        if isinstance(picture, HeatmapRecord):
            _draw_heatmap(axes, picture)
        elif isinstance(picture, ScatterRecord):
            _draw_points(axes, picture)
        else:
            _draw_curves(axes, picture)
    return save_figure(figure, kind)


def _show(text: str) -> str:
    return make_printable(text, NAME)


def _choose_size(picture: DrawnPicture) -> tuple[float, float]:
    """Inches across and down."""
    if not isinstance(picture, HeatmapRecord):
        return 6.4, 3.6
    n_cells = len(picture.column_labels), len(picture.row_labels)
    across, down = (min(max(_CELL * n, _LEAST), _MOST) for n in n_cells)
    return across + 2.5, down + 1.2  # labels and the bar of colours; title and labels


def _draw_heatmap(axes: Axes, picture: HeatmapRecord) -> None:
    values = np.array(picture.values, np.float64)  # [rows, columns]; None becomes NaN
    finite = values[np.isfinite(values)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)
    signed = low < 0 < high
    reach = max(abs(low), abs(high))
    image = axes.imshow(
        values,
        cmap="RdBu" if signed else "viridis",
        vmin=-reach if signed else low,
        vmax=reach if signed else high,
        aspect="auto",
        interpolation="nearest",
    )
    colours = axes.figure.colorbar(image, ax=axes)
    colours.set_label(_show(picture.unit), fontsize="small", parse_math=False)
    axes.set_xlabel(_show(picture.column_axis))
    axes.set_ylabel(_show(picture.row_axis))
    for axis, labels, turn in (
        (axes.xaxis, picture.column_labels, 90),
        (axes.yaxis, picture.row_labels, 0),
    ):
        step = -(-len(labels) // _MOST_LABELS)
        shown = [_show(label) for label in labels[::step]]
        places = range(0, len(labels), step)
        turned = turn if max(map(len, shown), default=0) > 2 else 0
        axis.set_ticks(places, shown, fontsize="x-small", rotation=turned, parse_math=False)


def _draw_curves(axes: Axes, picture: CurvesRecord) -> None:
    from matplotlib.ticker import MaxNLocator

    x = np.array(picture.x, np.float64)
    for i, one in enumerate(picture.series):
        colour, dashes = STYLES[i % len(STYLES)]
        y = np.array(one.y, np.float64)
        axes.plot(x, y, dashes, marker="o", markersize=3, color=colour, label=_show(one.name))
        if one.low is not None and one.high is not None:
            low, high = (np.array(bound, np.float64) for bound in (one.low, one.high))
            axes.fill_between(x, low, high, color=colour, alpha=0.2, linewidth=0)
    if (x == x.round()).all():
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel(_show(picture.x_axis))
    axes.set_ylabel(_show(picture.y_axis))
    for text in axes.legend(frameon=False, fontsize="small").get_texts():
        text.set_parse_math(False)


def _draw_points(axes: Axes, picture: ScatterRecord) -> None:
    for i, (name, x, y) in enumerate(zip(picture.groups, picture.x, picture.y, strict=True)):
        colour, _ = STYLES[i % len(STYLES)]
        marker = _MARKERS[i // len(STYLES) % len(_MARKERS)]
        points = (np.array(numbers, np.float64) for numbers in (x, y))
        axes.scatter(*points, s=12, color=colour, marker=marker, alpha=0.7, label=_show(name))
    axes.set_xlabel(_show(picture.x_axis))
    axes.set_ylabel(_show(picture.y_axis))
    for text in axes.legend(frameon=False, fontsize="small").get_texts():
        text.set_parse_math(False)
