"""What a drawing of many edges leaves out and merges: nothing is lost that is not counted."""

from __future__ import annotations

import re
import shutil
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from circuitgraph.drawing.arrows import choose_drawn
from circuitgraph.drawing.dot import render, to_dot
from circuitgraph.errors import ArgumentError
from circuitgraph.graph.circuit import Circuit
from circuitgraph.graph.graph import Graph

needs_dot = pytest.mark.skipif(shutil.which("dot") is None, reason="Graphviz is not installed")
GRAPHS = [Graph(3, 4), Graph(2, 4, n_kv_heads=2), Graph(2, 3, mlp=False, direct=True)]
GRAPHS += [Graph(2, 2).refine("m1", neurons=[0, 3])]


def make_circuit(seed: int, graph: Graph, n: int) -> Circuit:
    rng = np.random.default_rng(seed)
    mask = Circuit.random(graph, min(n, graph.n_edges), rng).mask
    return Circuit(graph, mask, rng.normal(size=graph.n_edges))


def box_of(node: str) -> str:
    """The box that a node of the drawing by layers stands in, by its name alone."""
    return re.sub(r"^(a\d+)\.(h|kv)\d+", r"\1", node)


@settings(max_examples=40)
@given(st.integers(0, 99), st.sampled_from(GRAPHS), st.integers(1, 60))
def test_merged_arrows_carry_all_edges_and_their_sums(seed: int, graph: Graph, n: int) -> None:
    circuit = make_circuit(seed, graph, n)
    drawn = choose_drawn(circuit, True, 0.0, None)
    effects: defaultdict[tuple[str, str], float] = defaultdict(float)
    for edge in circuit.edges:
        source, target = edge.split("->")
        if "<" in source:
            continue  # a direct edge comes from no writer
        kind = re.search(r"<(.)>", target)
        end = box_of(target.partition("<")[0]) + (kind[0] if kind else "")
        effects[box_of(source), end] += circuit.scores[graph.edge_index(edge)]  # pyright: ignore[reportOptionalSubscript]
    shown: defaultdict[tuple[str, str], float] = defaultdict(float)
    for arrow in drawn.arrows:
        assert arrow.effect is not None
        target = arrow.end or box_of(arrow.targets[0] if arrow.targets else "logits")
        kind = f"<{arrow.kind}>" if arrow.kind in ("q", "k", "v") else ""
        shown[box_of(arrow.source), target + kind] += arrow.effect
    assert set(shown) == set(effects)
    assert all(np.isclose(shown[key], effects[key]) for key in effects)
    assert drawn.n_hidden == 0
    assert sorted(node for box in drawn.boxes.values() for node in box) == sorted(circuit.nodes)


@settings(max_examples=40)
@given(
    st.integers(0, 99),
    st.sampled_from(GRAPHS),
    st.booleans(),
    st.floats(0, 1),
    st.none() | st.integers(1, 30),
)
def test_what_is_hidden_is_weaker_than_all_that_is_drawn_and_is_counted(
    seed: int, graph: Graph, by_layer: bool, share: float, most: int | None
) -> None:
    circuit = make_circuit(seed, graph, 40)
    whole = choose_drawn(circuit, by_layer, 0.0, None).arrows
    drawn = choose_drawn(circuit, by_layer, share, most)
    hidden = [arrow for arrow in whole if arrow not in drawn.arrows]
    assert drawn.n_hidden == sum(arrow.n_edges for arrow in hidden)
    if drawn.arrows:
        weakest = min(arrow.strength for arrow in drawn.arrows)
        assert all(arrow.strength <= weakest for arrow in hidden)
        largest = max(arrow.strength for arrow in whole)
        assert weakest >= share * largest
        assert most is None or len(drawn.arrows) <= most
        if most is None:
            assert all(arrow.strength < share * largest for arrow in hidden)


def test_edges_that_were_never_measured_are_hidden_last() -> None:
    circuit = make_circuit(0, Graph(2, 4), 20)
    tested = np.ones(circuit.graph.n_edges, bool)
    protected = np.flatnonzero(circuit.mask)[:3]
    tested[protected] = False
    unsure = Circuit(circuit.graph, circuit.mask, circuit.scores, tested)
    names = {circuit.graph.edges[edge] for edge in protected}
    assert {a.name for a in choose_drawn(unsure, False, 1.0, 3).arrows} == names


def test_the_picture_says_how_much_is_not_drawn() -> None:
    circuit = make_circuit(0, Graph(4, 8), 500)
    source = to_dot(circuit).source
    assert len(re.findall(r"penwidth", source)) == 200
    assert "the 300 weakest edges" in source
    assert "not drawn" not in to_dot(circuit, most_arrows=None).source
    assert "not drawn" not in to_dot(circuit, by_layer=True).source
    assert "pale: weak" in source


@needs_dot
@pytest.mark.parametrize("graph", GRAPHS)
@pytest.mark.parametrize("view", ["layers", "matrix"])
def test_graphviz_draws_every_view(tmp_path: Path, graph: Graph, view: str) -> None:
    circuit = make_circuit(1, graph, 40)
    picture = render(circuit, tmp_path / "a.svg", "<b>", {"a0.h1": "x < y\nz & w"}, view=view)
    assert "x &lt; y" in picture.read_text()


@pytest.mark.parametrize("wrong", [{"hide_below": 1.5}, {"most_arrows": 0}, {"view": "nodez"}])
def test_wrong_choices_are_refused(tmp_path: Path, wrong: dict) -> None:
    with pytest.raises(ArgumentError, match=str(next(iter(wrong.values())))):
        render(make_circuit(0, Graph(2, 2), 5), tmp_path / "a.dot", **wrong)
    assert list(tmp_path.iterdir()) == []
