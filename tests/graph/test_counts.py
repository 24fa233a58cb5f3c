"""How many nodes and edges there are, and which are legal, by definitions that share no code."""

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
        (Graph(24, 16), 231_877),  # gpt2-medium
        (Graph(12, 12, parallel=True), 32_347),  # pythia-160m
        (Graph(16, 8, parallel=True), 27_545),  # pythia-1b
        (Graph(24, 14, n_kv_heads=2), 79_813),  # Qwen2.5-0.5B
        (Graph(16, 32, n_kv_heads=8), 195_865),  # Llama-3.2-1B
        (Graph(26, 8, n_kv_heads=4), 50_610),  # gemma-2-2b
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
    inputs = 3 * heads if graph.n_kv_heads is None else heads + 2 * graph.n_kv_heads
    own = 0 if graph.parallel else heads
    expected = (
        inputs * sum(before)
        + mlps * sum(b + own for b in before)
        + 1
        + (heads + mlps) * graph.n_layers
    )
    expected += 3 * heads * graph.n_layers * graph.direct
    assert graph.n_edges == expected


def sees(reader: Reader, writer: Writer, parallel: bool) -> bool:
    """The forward pass in words: attention reads what earlier layers wrote, an MLP its own layer's
    heads too.

    Where the two run in parallel, neither sees the other.
    """
    if writer.kind == "embed" or reader.kind == "logits":
        return True
    if reader.kind == "mlp" and writer.kind == "head" and not parallel:
        return writer.node.layer <= reader.node.layer
    return writer.node.layer < reader.node.layer


@given(graphs())
def test_legality(graph: Graph) -> None:
    expected = [
        [sees(reader, writer, graph.parallel) for writer in graph.writers]
        for reader in graph.readers
    ]
    np.testing.assert_array_equal(graph.legal, expected)


@given(graphs())
def test_edges_are_numbered_reader_by_reader_and_named_after_their_ends(graph: Graph) -> None:
    dst, src = graph.ends
    ordinary = [
        (d, s)
        for d in range(len(graph.readers))
        for s in range(len(graph.writers))
        if sees(graph.readers[d], graph.writers[s], graph.parallel)
    ]
    split = [(d, -1) for d, reader in enumerate(graph.readers) if reader.kind in ("q", "k", "v")]
    assert list(zip(dst.tolist(), src.tolist(), strict=True)) == ordinary + (
        split if graph.direct else []
    )
    for name, d, s in zip(graph.edges, dst, src, strict=True):
        reader = graph.readers[d]
        expected = (
            (graph.writers[s].name, reader.name)
            if s >= 0
            else (reader.name, graph.writers[reader.feeds[0]].name)
        )
        assert tuple(name.split("->")) == expected


@given(graphs())
def test_readers_feed_the_writer_of_their_own_layer_and_head(graph: Graph) -> None:
    group = graph.n_heads // (graph.n_kv_heads or graph.n_heads)
    for reader in graph.readers[:-1]:
        shared = reader.kind in ("k", "v") and graph.n_kv_heads is not None
        heads = (
            range(reader.node.index * group, (reader.node.index + 1) * group)
            if shared
            else [reader.node.index]
        )
        writers = [graph.writers[fed] for fed in reader.feeds]
        assert [(writer.node.layer, writer.node.index) for writer in writers] == [
            (reader.node.layer, head) for head in heads
        ]
        assert {writer.kind for writer in writers} == {"mlp" if reader.kind == "mlp" else "head"}
    assert graph.readers[-1].name == "logits"
    assert graph.readers[-1].feeds == ()


def test_networkx_of_gpt2_small_merges_q_k_and_v() -> None:
    network = GPT2_SMALL.to_networkx()
    assert network.number_of_nodes() == 158
    assert network.number_of_edges() == 11_611
    assert nx.is_directed_acyclic_graph(network)
    assert network.edges["a0.h3", "a1.h6"]["inputs"] == "qkv"
    assert network.edges["a0.h3", "m0"]["inputs"] == ""
    assert network.nodes["a5.h1"] == {"kind": "head", "layer": 5}
    assert network.nodes["logits"] == {"kind": "logits", "layer": 12}


@given(graphs())
def test_networkx_holds_every_ordinary_edge_once(graph: Graph) -> None:
    network = graph.to_networkx()
    assert nx.is_directed_acyclic_graph(network)
    assert list(network.predecessors("embed")) == []
    assert list(network.successors("logits")) == []
    inputs = nx.get_edge_attributes(network, "inputs").values()
    dst, src = graph.ends
    assert sum(len(letters) or 1 for letters in inputs) == sum(
        len(graph.readers[d].feeds) or 1 for d in dst[src >= 0]
    )
    assert set(inputs) <= {"qkv", ""}


@pytest.mark.parametrize(
    ("layers", "heads", "named"), [(0, 2, "n_layers"), (2, 0, "n_heads"), (-1, 1, "n_layers")]
)
def test_empty_shapes_are_refused(layers: int, heads: int, named: str) -> None:
    with pytest.raises(
        ArgumentError, match=f"{named} is {min(layers, heads)}, but must be at least 1"
    ):
        Graph(layers, heads)


def test_heads_that_cannot_be_grouped_are_refused() -> None:
    with pytest.raises(ArgumentError, match="4 heads cannot share 3 key-value heads"):
        Graph(1, 4, n_kv_heads=3)
    with pytest.raises(ArgumentError, match="direct edges"):
        Graph(1, 4, n_kv_heads=2, direct=True)
