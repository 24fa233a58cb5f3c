"""Pictures of curves."""

from __future__ import annotations

import importlib.util
import struct

import pytest

from circuitgraph.drawing.curve_plot import Line, draw_curve
from circuitgraph.drawing.plots import FORMATS
from circuitgraph.errors import CircuitGraphError

LINES = {
    "signed": Line([0, 0.5, 1], [0, 0.4, 1], [0, 0.6, 1]),
    "absolute": Line([0, 0.4, 1], [0, 0.3, 1], [0, 0.5, 1]),
}
STARTS = {"png": b"\x89PNG", "svg": b"<?xml", "pdf": b"%PDF"}


@pytest.mark.parametrize("kind", FORMATS)
def test_every_format_is_what_it_says(kind: str) -> None:
    content = draw_curve([0.01, 0.1, 1.0], LINES, title="a & b < c", kind=kind)
    assert content.startswith(STARTS[kind])
    if kind == "png":
        assert min(struct.unpack(">II", content[16:24])) > 400


def test_svg_names_curves_axes_and_title() -> None:
    text = draw_curve([0.01, 0.1, 1.0], LINES, title="induction-2l", kind="svg").decode()
    for words in ("induction-2l", "share of edges", "faithfulness", "signed", "absolute"):
        assert f"<!-- {words} -->" in text


def test_without_matplotlib_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(CircuitGraphError, match=r"circuitgraph-interp\[plots\]"):
        draw_curve([0.1, 1.0], LINES, title="", kind="png")
