"""Random circuits: whole paths, or the same degrees, and legal in any case."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from circuitgraph.errors import ArgumentError, GraphError
from circuitgraph.graph.circuit import Circuit
from circuitgraph.graph.graph import Graph
from circuitgraph.graph.random_circuits import RandomCircuits

GRAPHS = [
    Graph(3, 2),
    Graph(2, 2, mlp=False),
    Graph(2, 2, parallel=True),
    Graph(2, 4, n_kv_heads=2),
]


@given(st.sampled_from(GRAPHS), st.integers(1, 40), st.integers(0, 9))
@settings(max_examples=25)
def test_circuits_of_paths_have_no_loose_edge(graph: Graph, n_edges: int, seed: int) -> None:
    n_edges = min(n_edges, graph.n_edges)
    circuit = RandomCircuits(graph).draw_circuit(n_edges, np.random.default_rng(seed))
    assert circuit == circuit.pruned()
    assert n_edges - 3 <= len(circuit) <= n_edges


@given(st.sampled_from(GRAPHS), st.integers(0, 60), st.integers(0, 9))
@settings(max_examples=25)
def test_rewired_circuits_keep_all_degrees(graph: Graph, n_edges: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    circuit = Circuit.random(graph, min(n_edges, graph.n_edges), rng)
    rewired = RandomCircuits(graph).rewire_circuit(circuit, rng)
    for end, n in zip(graph.ends, (len(graph.readers), len(graph.writers)), strict=True):
        before, after = (np.bincount(end[c.mask], minlength=n) for c in (circuit, rewired))
        np.testing.assert_array_equal(before, after)


def test_draws_differ_and_reach_every_edge() -> None:
    graph, rng = GRAPHS[0], np.random.default_rng(0)
    random = RandomCircuits(graph)
    drawn = [random.draw_circuit(20, rng) for _ in range(60)]
    assert len(set(drawn)) > 50
    assert np.any([circuit.mask for circuit in drawn], axis=0).all()
    rewired = {random.rewire_circuit(drawn[0], rng) for _ in range(20)}
    assert len(rewired) > 10


def test_what_cannot_be_drawn() -> None:
    with pytest.raises(GraphError, match="without direct edges"):
        RandomCircuits(Graph(1, 2, direct=True))
    with pytest.raises(ArgumentError, match="the graph has only"):
        RandomCircuits(GRAPHS[1]).draw_circuit(10**6, np.random.default_rng(0))
