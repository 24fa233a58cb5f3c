"""Greedy selection, and what pruning leaves, by their plain definitions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from circuitgraph.errors import ArgumentError, GraphError
from circuitgraph.graph.circuit import Circuit
from circuitgraph.graph.graph import Graph
from circuitgraph.graph.selection import select_edges_among, select_greedy, select_greedy_above
from tests.graph.strategies import Drawn, drawn, graphs


def plain_greedy(graph: Graph, scores: list[float], n: int) -> list[int]:
    """Look at all edges again at each step."""
    taken: list[int] = []
    dst, src = graph.ends
    for _ in range(n):
        connected = {int(src[edge]) for edge in taken}
        possible = [
            edge
            for edge in range(graph.n_edges)
            if edge not in taken
            and (
                graph.readers[dst[edge]].kind == "logits"
                or connected & set(graph.moved_by(graph.readers[dst[edge]]))
            )
        ]
        taken.append(max(possible, key=lambda edge: (scores[edge], -edge)))
    return taken


@given(
    graphs(3, 3).filter(lambda graph: not graph.direct), st.integers(0, 2**32 - 1), st.booleans()
)
def test_greedy_takes_the_strongest_edge_into_a_connected_node(
    graph: Graph, seed: int, absolute: bool
) -> None:
    rng = np.random.default_rng(seed)
    scores = rng.integers(-4, 5, graph.n_edges).astype(float)  # ties are common
    n = int(rng.integers(0, min(graph.n_edges, 25) + 1))
    expected = plain_greedy(graph, (np.abs(scores) if absolute else scores).tolist(), n)
    circuit = select_greedy(graph, scores, n, absolute=absolute)
    assert np.flatnonzero(circuit.mask).tolist() == sorted(expected)


@given(
    graphs(3, 3).filter(lambda graph: not graph.direct),
    st.integers(0, 2**32 - 1),
    st.sampled_from([0.0, 1.0, 3.0]),
)
def test_above_a_threshold_it_is_what_reaches_the_logits(
    graph: Graph, seed: int, threshold: float
) -> None:
    scores = np.random.default_rng(seed).integers(-4, 5, graph.n_edges).astype(float)
    kept = Circuit.above(graph, scores, threshold).mask
    while True:  # drop edges into nodes that feed nothing, until none is left
        dst, src = graph.ends
        feeding = set(src[kept].tolist())
        useful = [
            r.kind == "logits" or bool(feeding & set(graph.moved_by(r))) for r in graph.readers
        ]
        rest = kept & np.array(useful)[dst]
        if (rest == kept).all():
            break
        kept = rest
    np.testing.assert_array_equal(select_greedy_above(graph, scores, threshold).mask, kept)


def test_greedy_by_hand() -> None:
    """The strongest edge of all waits until its reader is connected."""
    graph = Graph(2, 1, mlp=False)
    scores = np.zeros(graph.n_edges)
    for edge, score in {
        "embed->a0.h0<v>": 9.0,
        "embed->logits": 1.0,
        "a1.h0->logits": 3.0,
        "a0.h0->a1.h0<k>": 2.0,
    }.items():
        scores[graph.edge_index(edge)] = score
    assert set(select_greedy(graph, scores, 1).edges) == {"a1.h0->logits"}
    assert set(select_greedy(graph, scores, 2).edges) == {"a1.h0->logits", "a0.h0->a1.h0<k>"}
    assert set(select_greedy(graph, scores, 3).edges) == {
        "a1.h0->logits",
        "a0.h0->a1.h0<k>",
        "embed->a0.h0<v>",
    }
    assert select_greedy(graph, scores, graph.n_edges) == Circuit.full(graph)
    assert len(select_greedy(graph, scores, 0)) == 0


@given(drawn())
def test_pruning_stops_only_when_every_node_has_an_edge_in_and_one_out(case: Drawn) -> None:
    """EAP-IG's rule since its pull request 17: edges of dangling nodes go, again and again, until
    there are none.
    """
    graph, kept = case.graph, case.circuit().mask.copy()
    if graph.direct:
        return
    dst, src = graph.ends
    moving = [set(graph.moved_by(reader)) for reader in graph.readers]
    while True:
        fed = {0}.union(*(moving[r] for r in set(dst[kept].tolist())))
        feeding = set(src[kept].tolist())
        alive = [
            graph.readers[r].kind == "logits" or bool(moving[r] & feeding)
            for r in range(len(graph.readers))
        ]
        rest = (
            kept
            & np.array(alive)[dst]
            & np.array([w in fed for w in range(len(graph.writers))])[src]
        )
        if (rest == kept).all():
            break
        kept = rest
    np.testing.assert_array_equal(case.circuit().pruned().mask, kept)


def test_edges_among_chosen_nodes() -> None:
    graph = Graph(2, 2, mlp=True, n_kv_heads=1)
    chosen = np.array([writer.name in ("embed", "a1.h1") for writer in graph.writers])
    assert set(select_edges_among(graph, chosen).edges) == {
        "embed->a1.h1<q>",
        "embed->a1.kv0<k>",
        "embed->a1.kv0<v>",
        "embed->logits",
        "a1.h1->logits",
    }


def test_what_greedy_refuses() -> None:
    graph, direct = Graph(1, 2), Graph(1, 2, direct=True)
    with pytest.raises(GraphError, match="without direct edges"):
        select_greedy(direct, np.zeros(direct.n_edges), 1)
    with pytest.raises(ArgumentError, match="has only 13"):
        select_greedy(graph, np.zeros(graph.n_edges), 14)
    with pytest.raises(ArgumentError, match="1 of 13 scores are NaN"):
        select_greedy(graph, np.where(np.arange(graph.n_edges) == 2, np.nan, 0.0), 1)
    with pytest.raises(ArgumentError, match="threshold is inf"):
        select_greedy_above(graph, np.zeros(graph.n_edges), float("inf"))
