"""Circuits of one graph are a Boolean algebra and behave like sets of edge names."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest
from hypothesis import given

from circuitgraph.errors import GraphError, UnknownNameError
from circuitgraph.graph.circuit import Circuit
from circuitgraph.graph.graph import Graph
from tests.graph.strategies import Drawn, drawn, fed_by

GRAPH = Graph(2, 2)


@given(drawn())
def test_laws_of_boolean_algebra(sample: Drawn) -> None:
    a, b, c = sample.circuits(3)
    none, everything = Circuit.empty(a.graph), Circuit.full(a.graph)
    assert a | b == b | a
    assert a & b == b & a
    assert (a | b) | c == a | (b | c)
    assert (a & b) & c == a & (b & c)
    assert a & (b | c) == (a & b) | (a & c)
    assert a | (b & c) == (a | b) & (a | c)
    assert a | (a & b) == a == a & (a | b)
    assert a | none == a == a & everything
    assert a | ~a == everything
    assert a & ~a == none
    assert ~~a == a


@given(drawn())
def test_de_morgan_and_the_derived_operations(sample: Drawn) -> None:
    a, b = sample.circuits(2)
    assert ~(a | b) == ~a & ~b
    assert ~(a & b) == ~a | ~b
    assert a - b == a & ~b
    assert a ^ b == (a | b) - (a & b) == (a - b) | (b - a)


@given(drawn())
def test_operations_are_those_of_sets_of_names(sample: Drawn) -> None:
    a, b = sample.circuits(2)
    names_a, names_b = set(a), set(b)
    assert set(a | b) == names_a | names_b
    assert set(a & b) == names_a & names_b
    assert set(a - b) == names_a - names_b
    assert set(a ^ b) == names_a ^ names_b
    assert set(~a) == set(a.graph.edges) - names_a
    assert (a <= b) == (names_a <= names_b)
    assert (a >= b) == (names_a >= names_b)
    assert len(a) == len(names_a) == int(a.mask.sum())


@given(drawn())
def test_order_is_that_of_inclusion(sample: Drawn) -> None:
    a, b = sample.circuits(2)
    assert Circuit.empty(a.graph) <= a <= Circuit.full(a.graph)
    assert a & b <= a <= a | b
    assert a <= a
    assert (a <= b and b <= a) == (a == b)
    assert (a <= b) == (a | b == b) == (a & b == a)
    assert len(a | b) + len(a & b) == len(a) + len(b)


@given(drawn())
def test_equal_circuits_hash_alike_whatever_was_measured(sample: Drawn) -> None:
    a, b = sample.circuits(2)
    scores = np.arange(a.graph.n_edges, dtype=float)
    twin = Circuit(dataclasses.replace(a.graph), a.mask.copy(), scores)
    assert twin == a
    assert hash(twin) == hash(a)
    assert len({a, twin}) == 1
    assert (a == b) == bool((a.mask == b.mask).all())


@given(drawn())
def test_iteration_is_in_the_graphs_order_and_agrees_with_membership(sample: Drawn) -> None:
    circuit = sample.circuit()
    kept = list(circuit)
    assert kept == circuit.edges == [edge for edge in circuit.graph.edges if edge in circuit]
    assert Circuit.of(circuit.graph, kept) == circuit
    assert Circuit.of(circuit.graph, reversed(kept)) == circuit


@given(drawn())
def test_nodes_are_those_that_an_ordinary_edge_touches(sample: Drawn) -> None:
    circuit = sample.circuit()
    ends = {
        end.split("<")[0]
        for edge in circuit
        if not edge.split("->")[0].endswith(">")
        for end in edge.split("->")
    }
    touched = {node for end in ends for node in fed_by(circuit.graph, end)}
    assert set(circuit.nodes) == touched == set(circuit.to_networkx().nodes)
    order = [writer.name for writer in circuit.graph.writers] + ["logits"]
    assert circuit.nodes == [name for name in order if name in touched]
    assert f"{len(circuit)} of {circuit.graph.n_edges} edges, {len(touched)} nodes" in repr(circuit)


def test_membership_understands_aliases_and_refuses_nonsense() -> None:
    circuit = Circuit.of(GRAPH, ["L0H1->1.0.q", "input->m0"])
    assert "a0.h1->a1.h0<q>" in circuit
    assert "blocks.0.attn.hook_result[1] -> L1H0<q>" in circuit
    assert "a0.h1->a1.h0<k>" not in circuit
    with pytest.raises(UnknownNameError, match=r"Unknown writer 'a9\.h1'"):
        _ = "a9.h1->m1" in circuit
    with pytest.raises(GraphError, match="does not come after"):
        _ = "m1->m0" in circuit


def test_without_takes_edges_out_and_keeps_what_was_measured() -> None:
    scores = np.arange(GRAPH.n_edges, dtype=float)
    circuit = Circuit(GRAPH, np.ones(GRAPH.n_edges, bool), scores, provenance={"metric": "kl"})
    less = circuit.without(["0.1->logits", "embed->m0"])
    assert set(circuit) - set(less) == {"a0.h1->logits", "embed->m0"}
    assert less.scores is scores
    assert less.provenance == {"metric": "kl"}
    assert (circuit | less).scores is None


@pytest.mark.parametrize(
    "other", [Graph(2, 3), Graph(3, 2), Graph(2, 2, mlp=False), Graph(2, 2, direct=True)], ids=str
)
def test_circuits_of_different_graphs_do_not_mix(other: Graph) -> None:
    mine, theirs = Circuit.full(GRAPH), Circuit.full(other)
    assert mine != theirs
    for operation in ("__or__", "__and__", "__sub__", "__xor__", "__le__"):
        for a, b in itertools.permutations([mine, theirs]):
            with pytest.raises(GraphError, match="different graphs") as e:
                getattr(a, operation)(b)
            assert str(GRAPH) in str(e.value)
            assert str(other) in str(e.value)
