"""Points of an analysis, drawn: every group with its name and its points."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from circuitgraph.catalog.analysis_record import ScatterRecord
from circuitgraph.drawing.reading_plots import draw_pictures

AXES: dict[str, Any] = {"title": "points", "x_axis": "first", "y_axis": "second"}


def test_each_group_has_its_points_and_a_name() -> None:
    names = ["$he", "she", *(f"g{i}" for i in range(16))]  # more than there are colours and markers
    x, y = [[0.0, 1.0, 2.0], *([[0.5]] * 17)], [[1.0, 2.0, 3.0], *([[0.5]] * 17)]
    picture = ScatterRecord(**AXES, groups=names, x=x, y=y)
    drawn = draw_pictures([picture], title="probes", kind="svg").decode()
    assert [word for word in (*names, "first", "second", "points") if word not in drawn] == []
    collections = drawn.split('<g id="PathCollection_')[1:]
    assert collections[0].count("<use ") == 3
    assert len(collections) == 2 * 18, "in the plane and in the legend"


def test_points_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValidationError, match=r"2 groups have \[1\] of x and \[1\] of y"):
        ScatterRecord(**AXES, groups=["a", "b"], x=[[0.0]], y=[[0.0]])
    with pytest.raises(ValidationError, match=r"1 groups have \[2\] of x and \[1\] of y"):
        ScatterRecord(**AXES, groups=["a"], x=[[0.0, 1.0]], y=[[0.0]])
