"""Pruning and liveness, against brute force: every simple path of a tiny graph is walked."""

from __future__ import annotations

import itertools

import networkx as nx
import numpy as np
import pytest
from hypothesis import given

from circuitgraph.graph.circuit import Circuit
from circuitgraph.graph.graph import Graph
from circuitgraph.graph.reach import find_live_edges
from tests.graph.strategies import Drawn, drawn, moved_by


def walkable(circuit: Circuit) -> nx.DiGraph:
    """The kept edges by name: writers to readers, readers to their own node (q, k and v if their
    direct edge is).
    """
    walks = nx.DiGraph()
    direct = circuit.graph.direct
    for edge in circuit:
        src, dst = edge.split("->")
        if src.endswith(">"):
            walks.add_edge(src, f"{dst} out", name=edge)
        else:
            walks.add_edge(f"{src} out", "logits" if dst == "logits" else dst, name=edge)
    for reader in list(walks):
        if reader == "logits" or reader.endswith("out"):
            continue
        if reader.startswith("m") or not direct:
            for node in moved_by(circuit.graph, reader.split("<")[0]):
                walks.add_edge(reader, f"{node} out", name=None)
    return walks


def edges_on_simple_paths(circuit: Circuit) -> set[str]:
    walks = walkable(circuit)
    if not {"embed out", "logits"} <= set(walks):
        return set()
    paths = nx.all_simple_paths(walks, "embed out", "logits")
    names = {walks[src][dst]["name"] for path in paths for src, dst in itertools.pairwise(path)}
    return names - {None}


@given(drawn(layers=2, heads=2))
def test_pruning_keeps_exactly_the_edges_on_a_path(sample: Drawn) -> None:
    circuit = sample.circuit()
    assert set(circuit.pruned()) == edges_on_simple_paths(circuit)


@given(drawn())
def test_pruning_is_idempotent_and_only_takes_away(sample: Drawn) -> None:
    circuit = sample.circuit()
    pruned = circuit.pruned()
    assert pruned <= circuit
    assert pruned.pruned() == pruned


@given(drawn())
def test_pruning_is_monotone(sample: Drawn) -> None:
    a, b = sample.circuits(2)
    assert (a & b).pruned() <= a.pruned()


@pytest.mark.parametrize("direct", [False, True])
@pytest.mark.parametrize("mlp", [False, True])
def test_full_and_empty_circuits_are_pruned_already(mlp: bool, direct: bool) -> None:
    graph = Graph(3, 2, mlp=mlp, direct=direct)
    assert Circuit.full(graph).pruned() == Circuit.full(graph)
    assert Circuit.empty(graph).pruned() == Circuit.empty(graph)


def test_pruning_keeps_what_was_measured() -> None:
    graph = Graph(2, 2)
    scores = np.arange(graph.n_edges, dtype=float)
    circuit = Circuit(graph, np.zeros(graph.n_edges, bool), scores, provenance={"metric": "kl"})
    assert circuit.pruned().scores is scores
    assert circuit.pruned().provenance == {"metric": "kl"}


@pytest.mark.parametrize(
    ("edges", "kept"),
    [
        (["embed->a0.h0<q>", "a0.h0->logits"], 2),
        (["embed->a0.h0<q>"], 0),  # leads nowhere
        (["a0.h0->logits"], 0),  # comes from nowhere
        (["embed->a0.h0<q>", "a0.h1->logits"], 0),  # two heads
        (
            [
                "embed->a0.h0<q>",
                "embed->a0.h0<v>",
                "a0.h0->m0",
                "m0->logits",
                "m1->logits",
                "embed->m1",
            ],
            6,
        ),
        (["embed->logits", "a0.h0->a1.h0<k>", "a1.h0->logits"], 1),
    ],
)
def test_pruning_by_example(edges: list[str], kept: int) -> None:
    assert len(Circuit.of(Graph(2, 2), edges).pruned()) == kept


def test_a_path_enters_a_head_only_where_its_direct_edge_is_kept() -> None:
    graph = Graph(1, 1, direct=True)
    path = ["embed->a0.h0<q>", "embed->a0.h0<k>", "a0.h0<k>->a0.h0", "a0.h0->logits"]
    assert set(Circuit.of(graph, path).pruned()) == {*path} - {"embed->a0.h0<q>"}


@given(drawn())
def test_an_edge_lives_while_the_node_it_enters_feeds_something(sample: Drawn) -> None:
    """A head without outgoing edges loses its direct edges, then its q, k and v inputs."""
    circuit = sample.circuit()
    kept = [edge.split("->") for edge in circuit]
    feeding = {src for src, _ in kept}
    expected = []
    for edge in circuit.graph.edges:
        src, dst = edge.split("->")
        node = dst.split("<")[0]
        direct_gone = circuit.graph.direct and dst.endswith(">") and dst not in feeding
        expected.append(
            dst == "logits"
            or (not feeding.isdisjoint(moved_by(circuit.graph, node)) and not direct_gone)
        )
        if src.endswith(">"):
            assert node == dst, "a direct edge enters the head itself"
    np.testing.assert_array_equal(find_live_edges(circuit.graph, circuit.mask), expected)
