"""The search space: what names stand for, which edges are free, what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from circuitgraph.errors import ArgumentError, CircuitGraphError, GraphError
from circuitgraph.graph.circuit import Circuit
from circuitgraph.graph.graph import Graph
from circuitgraph.graph.space import find_named_edges, make_space

GRAPH = Graph(n_layers=2, n_heads=2)


def names_of(mask: np.ndarray) -> set[str]:
    return set(Circuit(GRAPH, mask).edges)


@pytest.mark.parametrize(
    ("name", "touches"),
    [
        ("m0", lambda writer, reader: "m0" in (writer, reader)),
        ("mlps", lambda writer, reader: {writer, reader} & {"m0", "m1"}),
        ("m*", lambda writer, reader: {writer, reader} & {"m0", "m1"}),
        ("heads", lambda writer, reader: writer[0] == "a" or reader[0] == "a"),
        (
            "layer 1",
            lambda writer, reader: writer[:2] in ("a1", "m1") or reader[:2] in ("a1", "m1"),
        ),
        ("L1H0", lambda writer, reader: writer == "a1.h0" or reader.startswith("a1.h0<")),
        ("a1.h0<q>", lambda writer, reader: reader == "a1.h0<q>"),
        ("embed->logits", lambda writer, reader: (writer, reader) == ("embed", "logits")),
        ("a0.*->logits", lambda writer, reader: writer[:2] == "a0" and reader == "logits"),
    ],
)
def test_a_name_stands_for_its_edges(name: str, touches: Any) -> None:
    expected = {edge for edge in GRAPH.edges if touches(*edge.split("->"))}
    assert names_of(find_named_edges(GRAPH, [name])) == expected
    assert 0 < len(expected) < GRAPH.n_edges


def test_an_input_that_heads_share_is_not_one_head_s_own() -> None:
    graph = Graph(n_layers=1, n_heads=2, n_kv_heads=1)
    shared = Circuit.of(graph, ["embed->a0.kv0<k>"]).mask
    assert not (find_named_edges(graph, ["a0.h0"]) & shared).any()
    assert (find_named_edges(graph, ["heads"]) & shared).any()


def test_what_is_left_out_wins_over_a_protected_node() -> None:
    space = make_space(GRAPH, without=["m0"], protect=["a1.h1"])
    assert not (space.allowed & find_named_edges(GRAPH, ["m0"])).any()
    assert names_of(space.protected) == {
        edge
        for edge in GRAPH.edges
        if edge.startswith("a1.h1->") or ("->a1.h1<" in edge and not edge.startswith("m0"))
    }
    assert not (space.free & (space.protected | ~space.allowed)).any()
    every = np.ones(GRAPH.n_edges, bool)
    np.testing.assert_array_equal(space.confine(every), space.allowed)
    np.testing.assert_array_equal(space.confine(~every), space.protected)


def test_circuits_bound_and_begin_a_search() -> None:
    inside, start = Circuit.of(GRAPH, ["embed->m0", "m0->logits"]), ["m0->logits"]
    space = make_space(GRAPH, inside=inside, start_from=start)
    assert names_of(space.allowed) == {"embed->m0", "m0->logits"}
    assert names_of(space.start) == {"m0->logits"}
    assert space.words["inside"] == inside.edges
    again = make_space(GRAPH, **space.words)
    np.testing.assert_array_equal(again.allowed, space.allowed)
    np.testing.assert_array_equal(again.start, space.start)


def test_no_words_are_the_whole_graph() -> None:
    space = make_space(GRAPH)
    assert space.is_whole
    assert space.free.all()
    assert not make_space(GRAPH, inside=[*GRAPH.edges]).is_whole


@pytest.mark.parametrize(
    ("words", "error", "message"),
    [
        ({"without": ["m7"]}, CircuitGraphError, "'m7'. Did you mean 'm1' or 'm0'"),
        ({"protect": ["mpls"]}, CircuitGraphError, "Groups are 'mlps'"),
        ({"protect": ["a0.*->m9"]}, CircuitGraphError, "No edge of this graph is like"),
        ({"without": ["m1->m0"]}, GraphError, "m0 does not come after m1"),
        ({"without": ["m0"], "protect": ["m0->logits"]}, ArgumentError, "m0->logits"),
        (
            {"without": ["logits"], "protect": ["embed->m0"], "inside": ["embed->m0"]},
            ArgumentError,
            "no edge",
        ),
        ({"inside": Circuit.full(Graph(n_layers=1, n_heads=2))}, GraphError, "another graph"),
    ],
)
def test_words_that_make_no_sense_are_refused(
    words: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error) as caught:
        make_space(GRAPH, **words)
    assert message in str(caught.value)
