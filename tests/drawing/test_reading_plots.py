"""Pictures of analyses."""

from __future__ import annotations

import pytest

from circuitgraph.catalog.analysis_record import CurvesRecord, HeatmapRecord, SeriesRecord
from circuitgraph.drawing.plots import FORMATS
from circuitgraph.drawing.reading_plots import draw_pictures

CURVES = CurvesRecord(
    title="a title",
    x_axis="layer",
    y_axis="logit",
    x=[0, 1, 2],
    series=[
        SeriesRecord(name="with a band", y=[0, 1, 2], low=[0, 0, 1], high=[1, 2, 3]),
        SeriesRecord(name="$\\frac{without", y=[2, None, 0]),
    ],
)


def make_heatmap(values: list[list[float | None]]) -> HeatmapRecord:
    return HeatmapRecord(
        title="effects",
        unit="share",
        row_axis="head",
        column_axis="position",
        row_labels=[f"a{i}.h0" for i in range(len(values))],
        column_labels=[f"{i} $x_{{" for i in range(len(values[0]))],
        values=values,
    )


@pytest.mark.parametrize("kind", FORMATS)
def test_the_same_pictures_give_the_same_file(kind: str) -> None:
    pictures = [CURVES, make_heatmap([[0.5, -0.25], [None, 1.0]])]
    once, again = (draw_pictures(pictures, title="m", kind=kind) for _ in range(2))
    assert once.startswith({"png": b"\x89PNG", "svg": b"<?xml", "pdf": b"%PDF"}[kind])
    assert once == again


def test_everything_that_has_a_name_is_named() -> None:
    text = draw_pictures([CURVES, make_heatmap([[0.5, -0.25]])], title="all", kind="svg").decode()
    names = ("all", "a title", "layer", "with a band", "$\\frac{without", "effects", "share")
    assert [name for name in (*names, "a0.h0", "1 $x_{") if f"<!-- {name} -->" not in text] == []


@pytest.mark.parametrize("values", [[[None, None]], [[1.0] * 300], [[2.0], [2.0]]])
def test_odd_matrices_can_be_drawn(values: list[list[float | None]]) -> None:
    assert draw_pictures([make_heatmap(values)], title="", kind="png").startswith(b"\x89PNG")
