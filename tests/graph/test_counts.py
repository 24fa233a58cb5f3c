"""How many nodes and edges there are, and which are legal, against definitions that share no code."""

from __future__ import annotations

import networkx as nx
import numpy as np
import pytest
from hypothesis import given

from circuitgraph.errors import ArgumentError
from circuitgraph.graph.graph import Graph, Reader, Writer
from tests.graph.strategies import graphs

GPT2_SMALL = Graph(12, 12)


@pytest.mark.parametrize(
    ("graph", "edges"),
    [
        (GPT2_SMALL, 32_491),
        (Graph(12, 12, direct=True), 32_923),
        (Graph(2, 8, mlp=False), 257),
        (Graph(2, 8, mlp=False, direct=True), 305),
        (Graph(4, 8, mlp=False), 1_281),
        (Graph(4, 8, mlp=False, direct=True), 1_377),
        (Graph(1, 1, mlp=False), 5),
        (Graph(1, 1), 8),
    ],
    ids=str,
)
def test_published_counts(graph: Graph, edges: int) -> None:
    assert graph.n_edges == len(graph.edges) == len(set(graph.edges)) == edges


def test_gpt2_small_has_157_writers_and_445_readers() -> None:
    assert len(GPT2_SMALL.writers) == 157
    assert len(GPT2_SMALL.readers) == 445
    assert GPT2_SMALL.legal.shape == (445, 157)


@given(graphs(layers=7, heads=6))
def test_closed_formula(graph: Graph) -> None:
    """The closed formula, with one embedding writer."""
    layers, heads, mlps = range(graph.n_layers), graph.n_heads, int(graph.mlp)
    before = [1 + (heads + mlps) * layer for layer in layers]
    expected = 3 * heads * sum(before) + mlps * sum(b + heads for b in before) + 1 + (heads + mlps) * graph.n_layers
    expected += 3 * heads * graph.n_layers * graph.direct
    assert graph.n_edges == expected


def sees(reader: Reader, writer: Writer) -> bool:
    """The forward pass in words: attention reads what earlier layers wrote, an MLP its own layer's heads too."""
    if writer.kind == "embed" or reader.kind == "logits":
        return True
    if reader.kind == "mlp" and writer.kind == "head":
        return writer.layer <= reader.layer
    return writer.layer < reader.layer


@given(graphs())
def test_legality(graph: Graph) -> None:
    expected = [[sees(reader, writer) for writer in graph.writers] for reader in graph.readers]
    np.testing.assert_array_equal(graph.legal, expected)


@given(graphs())
def test_edges_are_numbered_reader_by_reader_and_named_after_their_ends(graph: Graph) -> None:
    dst, src = graph.ends
    ordinary = [
        (d, s)
        for d in range(len(graph.readers))
        for s in range(len(graph.writers))
        if sees(graph.readers[d], graph.writers[s])
    ]
    split = [(d, -1) for d, reader in enumerate(graph.readers) if reader.kind in ("q", "k", "v")]
    assert list(zip(dst.tolist(), src.tolist(), strict=True)) == ordinary + (split if graph.direct else [])
    for name, d, s in zip(graph.edges, dst, src, strict=True):
        reader = graph.readers[d]
        expected = (graph.writers[s].name, reader.name) if s >= 0 else (reader.name, graph.writers[reader.feeds].name)
        assert tuple(name.split("->")) == expected


@given(graphs())
def test_readers_feed_the_writer_of_their_own_layer_and_head(graph: Graph) -> None:
    for reader in graph.readers[:-1]:
        writer = graph.writers[reader.feeds]
        assert (writer.layer, writer.head) == (reader.layer, reader.head)
        assert writer.kind == ("mlp" if reader.kind == "mlp" else "head")
    assert graph.readers[-1].name == "logits"
    assert graph.readers[-1].feeds == -1


def test_networkx_of_gpt2_small_merges_q_k_and_v() -> None:
    found = GPT2_SMALL.to_networkx()
    assert found.number_of_nodes() == 158
    assert found.number_of_edges() == 11_611
    assert nx.is_directed_acyclic_graph(found)
    assert found.edges["a0.h3", "a1.h6"]["inputs"] == "qkv"
    assert found.edges["a0.h3", "m0"]["inputs"] == ""
    assert found.nodes["a5.h1"] == {"kind": "head", "layer": 5}
    assert found.nodes["logits"] == {"kind": "logits", "layer": 12}


@given(graphs())
def test_networkx_holds_every_ordinary_edge_once(graph: Graph) -> None:
    found = graph.to_networkx()
    assert nx.is_directed_acyclic_graph(found)
    assert list(found.predecessors("embed")) == []
    assert list(found.successors("logits")) == []
    inputs = nx.get_edge_attributes(found, "inputs").values()
    assert sum(len(letters) or 1 for letters in inputs) == (graph.ends[1] >= 0).sum()
    assert set(inputs) <= {"qkv", ""}


@pytest.mark.parametrize(("layers", "heads", "named"), [(0, 2, "n_layers"), (2, 0, "n_heads"), (-1, 1, "n_layers")])
def test_empty_shapes_are_refused(layers: int, heads: int, named: str) -> None:
    with pytest.raises(ArgumentError, match=f"{named} is {min(layers, heads)}, but must be at least 1"):
        Graph(layers, heads)
