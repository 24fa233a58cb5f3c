"""One order of all edges out of ACDC's decisions."""

from __future__ import annotations

import numpy as np

from circuitgraph.graph.circuit import Circuit
from circuitgraph.graph.graph import Graph
from circuitgraph.graph.selection import rank_edges

GRAPH = Graph(1, 2, mlp=False)  # nine edges


def order(scores: np.ndarray) -> list[int]:
    return np.argsort(-scores, kind="stable").tolist()


def test_kept_before_removed_before_untested() -> None:
    kept = np.array([0, 1, 0, 0, 1, 1, 0, 0, 0], bool)
    effects = np.array([-9, 0.2, 0.05, 0, 0.9, 0, 0.1, 0, 0.05])
    tested = np.array([1, 1, 1, 0, 1, 0, 1, 0, 1], bool)
    found = rank_edges(Circuit(GRAPH, kept, effects, tested))
    assert order(found) == [4, 1, 5, 6, 2, 8, 0, 3, 7]
    assert found[2] == found[8]
    assert found[3] == found[7] == 0
    assert (found >= 0).all()
    for n in (3, 7):
        signed, absolute = (Circuit.top(GRAPH, found, n, absolute=how) for how in (False, True))
        assert signed == absolute
    assert np.array_equal(Circuit.top(GRAPH, found, 3).mask, kept)


def test_a_circuit_without_scores_ranks_what_it_keeps_first() -> None:
    circuit = Circuit.random(GRAPH, 4, np.random.default_rng(0))
    found = rank_edges(circuit)
    assert set(found[circuit.mask]) == {2.0}
    assert set(found[~circuit.mask]) == {0.0}


def test_all_or_nothing_kept() -> None:
    effects = np.arange(9.0)
    for circuit in (
        Circuit(GRAPH, np.ones(9, bool), effects),
        Circuit(GRAPH, np.zeros(9, bool), effects),
    ):
        assert order(rank_edges(circuit)) == list(range(8, -1, -1))
