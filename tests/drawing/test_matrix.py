"""The matrix of heads: what stands in a square, and what its colour says."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import numpy as np
import pytest

from circuitgraph.drawing.matrix import matrix_to_dot, matrix_to_html
from circuitgraph.graph.circuit import Circuit
from circuitgraph.graph.graph import Graph

EFFECTS = {
    "embed->a0.h1<v>": 1.0,
    "a0.h1->a1.h0<k>": 2.0,
    "a0.h1->a1.h0<q>": 0.5,
    "embed->m0": 0.25,
    "m0->a1.h0<q>": -0.5,
    "a1.h0->logits": 4.0,
}


def make_circuit(graph: Graph, effects: dict[str, float]) -> Circuit:
    scores = np.zeros(graph.n_edges)
    for edge, effect in effects.items():
        scores[graph.edge_index(edge)] = effect
    return Circuit(graph, Circuit.of(graph, effects).mask, scores, None, {"metric": "<kl>"})


def read_squares(html: str) -> list[list[str]]:
    """The lines of each square, row by row."""
    table = ElementTree.fromstring(f"<body>{html}</body>").find("table")  # noqa: S314
    assert table is not None
    return [[" ".join(cell.itertext()) for cell in row] for row in table]


def test_a_square_has_the_sum_of_what_leaves_the_node_and_what_it_reads() -> None:
    rows = read_squares(matrix_to_html(make_circuit(Graph(2, 2), EFFECTS)))
    assert rows == [
        ["", "h0", "h1", "MLP"],
        ["layer 1", "4 qk", "", ""],
        ["layer 0", "", "2.5 v", "-0.5"],
        ["embed", "1.2", "", ""],
    ]


def test_colours_say_sign_and_size() -> None:
    html = matrix_to_html(make_circuit(Graph(2, 2), EFFECTS))
    fill = {
        node: match[1]
        for node in ("a1.h0", "a0.h1", "m0", "embed")
        if (match := re.search(rf'background: (#\w+);[^>]*title="{node}:', html))
    }
    red, blue = ({n: int(c[i : i + 2], 16) for n, c in fill.items()} for i in (1, 5))
    assert red["m0"] > blue["m0"]
    assert red["a1.h0"] < red["a0.h1"] < red["embed"] < blue["embed"]


@pytest.mark.parametrize("how", ["unscored", "untested"])
def test_effects_that_nobody_measured_are_no_zeros(how: str) -> None:
    circuit = make_circuit(Graph(2, 2), EFFECTS)
    tested = np.zeros(circuit.graph.n_edges, bool)
    bare = Circuit(circuit.graph, circuit.mask)
    if how == "untested":
        bare = Circuit(circuit.graph, circuit.mask, circuit.scores, tested)
    assert read_squares(matrix_to_html(bare))[1][1] == "- qk"


def test_the_parts_of_an_mlp_share_its_square() -> None:
    graph = Graph(2, 2).refine("m0", neurons=[1, 5])
    effects = {"m0.n1->logits": 1.0, "m0.n5->logits": 2.0, "m0.rest->m1": 0.5, "embed->m0": 1.0}
    html = matrix_to_html(make_circuit(graph, effects))
    assert read_squares(html)[2][3] == "3.5"
    assert 'title="m0.n1, m0.n5, m0.rest: edges in 1, out 3; effect 3.5"' in html


def test_the_drawing_says_the_same_and_what_it_means() -> None:
    circuit = make_circuit(Graph(2, 2), EFFECTS)
    source = matrix_to_dot(circuit, captions={"a0.h1": "previous <token>"}).source
    texts = [text for text in re.split(r"<[^<>]*>", source) if text.strip()]
    for text in ("4", "2.5", "-0.5", "layer 1", "MLP", "previous &lt;token&gt;"):
        assert text in texts
    assert "sum of effects on &lt;kl&gt;" in source
    assert len(re.findall(r'BGCOLOR="#F4F4F4"', source)) == 3
