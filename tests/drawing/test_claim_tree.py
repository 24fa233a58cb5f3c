"""The drawing of a tree of claims: what is in it, and that colours follow the costs."""

from __future__ import annotations

from pathlib import Path

import pytest

from circuitgraph.drawing.claim_tree import ClaimBox, claims_to_dot
from circuitgraph.drawing.graphviz_output import has_graphviz, save_drawing
from circuitgraph.errors import ArgumentError

CLAIMS = [
    ClaimBox(("out",), "logits@A2", "answer", "", 1.0, "<b> & \\N", 'a "donor" \\n'),
    ClaimBox(("out", "h"), "a1.h6@A2", "copied", "x", 0.25, "cake", "word " * 30),
    ClaimBox(("out", "h", "e"), "embed@A2", "current", "q", -0.5, "park", "the park"),
]


def test_every_node_and_every_edge_is_there() -> None:
    source = claims_to_dot(CLAIMS, "a <title>", "below & all").source
    assert source.count(" -> ") == 2
    assert "n1 -> n0" in source
    assert "n2 -> n1" in source
    assert '" q"' in source
    assert "a &lt;title&gt;" in source
    assert "copied = cake" in source
    assert "&lt;b&gt; &amp;" in source


def test_what_costs_nothing_is_white_and_what_costs_everything_red() -> None:
    source = claims_to_dot(CLAIMS, "t", "b").source
    fills = [
        line.split("fillcolor=")[1].split()[0].strip('"')
        for line in source.splitlines()
        if "fillcolor" in line
    ]
    assert fills == ["#FFFFFF", "#F28C99", "#EE6677"]


@pytest.mark.skipif(not has_graphviz(), reason="needs Graphviz")
def test_graphviz_can_draw_it(tmp_path: Path) -> None:
    assert (
        save_drawing(claims_to_dot(CLAIMS, "t", "b"), tmp_path / "tree.svg")
        .read_text()
        .count("<g id=")
        > 4
    )


def test_another_ending_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match="picture format 'gif'"):
        save_drawing(claims_to_dot(CLAIMS, "t", "b"), tmp_path / "tree.gif")
    assert (
        save_drawing(claims_to_dot(CLAIMS, "t", "b"), tmp_path / "tree.dot")
        .read_text()
        .startswith("digraph")
    )
