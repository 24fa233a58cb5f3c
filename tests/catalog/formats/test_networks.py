"""Node-link JSON and GraphML, read back by networkx itself; and DOT."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings

from circuitgraph.graph.circuit import Circuit
from circuitgraph.graph.graph import Graph
from circuitgraph.jobs.export import export_circuit
from tests.graph.strategies import Drawn, drawn


def read_network(path: Path, name: str) -> nx.MultiDiGraph:
    if name == "graphml":
        return nx.read_graphml(path, force_multigraph=True)
    return nx.node_link_graph(json.loads(path.read_text()), edges="links")


@pytest.mark.parametrize("name", ["node-link", "graphml"])
@settings(max_examples=20)
@given(drawn=drawn(2, 3))
def test_networkx_reads_every_kept_edge(
    tmp_path_factory: pytest.TempPathFactory, name: str, drawn: Drawn
) -> None:
    graph, mask = drawn.graph, drawn.circuit().mask
    scores = np.random.default_rng(drawn.seed).normal(size=graph.n_edges)
    circuit = Circuit(graph, mask, scores)
    path = tmp_path_factory.mktemp("out") / "it"
    notes = " ".join(export_circuit(circuit, path, name))
    network = read_network(path, name)
    edges = [data for _, _, data in network.edges(data=True) if data["relation"] == "edge"]
    written = {data["edge"]: data["score"] for data in edges}
    assert len(written) == len(edges)
    own = graph.ends[1] >= 0
    expected = {graph.edges[i]: float(scores[i]) for i in np.flatnonzero(mask & own)}
    assert written == expected
    assert ("direct q, k and v edges" in notes) == bool((mask & ~own).any())
    assert network.graph["n_edges"] == graph.n_edges
    assert nx.is_directed_acyclic_graph(network)


@pytest.mark.parametrize("name", ["node-link", "graphml"])
def test_shared_inputs_are_nodes(tmp_path: Path, name: str) -> None:
    graph = Graph(1, 2, n_kv_heads=1).refine("m0", neurons=[7])
    edges = ["embed->a0.kv0<v>", "a0.h0->m0", "m0.n7->logits", "m0.rest->logits"]
    facts: dict[str, Any] = {"model": {"name": "a\x01b"}, "metric": "kl"}
    circuit = Circuit(graph, Circuit.of(graph, edges).mask, provenance=facts)
    export_circuit(circuit, tmp_path / "it", name)
    network = read_network(tmp_path / "it", name)
    kinds = nx.get_node_attributes(network, "kind")
    assert kinds == {
        "embed": "embed",
        "a0.kv0": "kv",
        "a0.h0": "head",
        "m0": "mlp",
        "m0.n7": "neuron",
        "m0.rest": "rest",
        "logits": "logits",
    }
    computed = {(u, v) for u, v, data in network.edges(data=True) if data["relation"] == "computed"}
    assert computed == {("a0.kv0", "a0.h0"), ("m0", "m0.n7"), ("m0", "m0.rest")}
    assert nx.has_path(network, "embed", "logits")
    assert not any("score" in data for *_, data in network.edges(data=True))
    assert network.graph["metric"] == "kl"


def test_dot_is_the_drawing(tmp_path: Path) -> None:
    graph = Graph(1, 1, direct=True)
    circuit = Circuit.of(graph, ["embed->a0.h0<q>", "a0.h0<q>->a0.h0", "a0.h0->logits"])
    notes = export_circuit(circuit, tmp_path / "it.dot")
    text = (tmp_path / "it.dot").read_text()
    assert text.startswith("digraph circuit {")
    assert 'tooltip="a0.h0->logits"' in text
    assert notes == ("1 direct q, k and v edges are not drawn.",)
