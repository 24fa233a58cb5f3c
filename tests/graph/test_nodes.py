"""Nodes: one grammar that parses, prints and orders, and graphs with MLPs cut into parts."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from circuitgraph.catalog.files import load_circuit, save_circuit
from circuitgraph.errors import ArgumentError, DataError, UnknownNameError
from circuitgraph.graph.circuit import Circuit
from circuitgraph.graph.graph import Graph
from circuitgraph.graph.node import Node, parse_input
from circuitgraph.graph.site import Site
from tests.graph.strategies import graphs

NODES = st.one_of(
    st.just(Node("embed")),
    st.just(Node("logits")),
    st.builds(Node, st.sampled_from(["mlp", "rest", "error"]), st.integers(0, 99)),
    st.builds(
        Node,
        st.sampled_from(["head", "neuron", "feature"]),
        st.integers(0, 99),
        st.integers(0, 9999),
    ),
)
ROLES = st.lists(st.sampled_from(["A1", "B1", "end"]), unique=True).map(tuple)


@given(NODES, ROLES)
def test_names_of_nodes_and_sites_lead_back_to_them(node: Node, roles: tuple[str, ...]) -> None:
    assert Node.parse(str(node)) == node
    assert Site.parse(str(Site(node, roles))) == Site(node, roles)
    assert [parse_input(f"{node}<{i}>") for i in node.inputs if i != "x"] == [
        (node, i) for i in node.inputs if i != "x"
    ]


def test_an_input_is_no_node() -> None:
    with pytest.raises(UnknownNameError, match=r"'a0.h1<q>' is an input of a node, not a node"):
        Node.parse("a0.h1<q>")


@given(graphs(), st.randoms(use_true_random=False), st.data())
def test_nodes_are_ordered_as_the_forward_pass_runs_them(
    graph: Graph, rng: random.Random, data: st.DataObject
) -> None:
    if graph.mlp:
        layer = data.draw(st.integers(0, graph.n_layers - 1))
        graph = graph.refine(f"m{layer}", features=[7, 2])
    nodes = [writer.node for writer in graph.writers] + [Node("logits")]
    shuffled = rng.sample(nodes, len(nodes))
    assert sorted(shuffled) == nodes


def test_a_split_mlp_is_its_parts_and_the_rest() -> None:
    whole = Graph(2, 2)
    graph = whole.refine("m0", neurons=[5, 3]).refine("m1", features=[4])
    names = [writer.name for writer in graph.writers]
    assert names[3:6] == ["m0.n3", "m0.n5", "m0.rest"]
    assert names[-3:] == ["m1.f4", "m1.rest", "m1.error"]
    assert [reader.name for reader in graph.readers] == [reader.name for reader in whole.readers]
    assert graph.with_whole_mlps == whole
    assert graph != whole
    assert "splits" in repr(graph)
    reader = graph.readers[graph.reader_index("m0")]
    assert [graph.writers[fed].name for fed in reader.feeds] == names[3:6]
    assert graph.source_writers == (0,)
    assert graph.writer_of(Node("neuron", 0, 3)).name == "m0.n3"
    assert whole.writer_of(Node("neuron", 0, 3)).name == "m0"
    assert graph.reader_of(Node("neuron", 0, 3), "x").name == "m0"


@given(graphs(), st.data())
def test_edges_of_parts_are_those_of_their_mlp(graph: Graph, data: st.DataObject) -> None:
    if not graph.mlp:
        return
    layer = data.draw(st.integers(0, graph.n_layers - 1))
    refined = graph.refine(f"m{layer}", neurons=[0, 9])
    expected = []
    for edge in graph.edges:
        writer, _, reader = edge.partition("->")
        parts = (
            [f"m{layer}.n0", f"m{layer}.n9", f"m{layer}.rest"]
            if writer == f"m{layer}"
            else [writer]
        )
        expected += [f"{part}->{reader}" for part in parts]
    assert list(refined.edges) == expected
    full = np.ones(refined.n_edges, bool)
    assert Circuit(refined, full).pruned() == Circuit(refined, full)


@pytest.mark.parametrize(
    ("mlp", "parts", "message"),
    [
        ("m0", {}, "give one of them"),
        ("m0", {"neurons": [1], "features": [1]}, "give one of them"),
        ("m0", {"neurons": [1, 1]}, "each number once"),
        ("m0", {"neurons": [-1]}, "each number once"),
        ("a0.h1", {"neurons": [1]}, "only whole MLPs"),
        ("m7", {"neurons": [1]}, "Unknown writer"),
    ],
)
def test_what_cannot_be_split_is_refused(mlp: str, parts: dict[str, Any], message: str) -> None:
    with pytest.raises((ArgumentError, UnknownNameError), match=message):
        Graph(2, 2).refine(mlp, **parts)


def test_a_circuit_of_parts_is_stored_and_read_back(tmp_path: Path) -> None:
    graph = Graph(3, 2).refine("m0", neurons=[5, 1]).refine("m2", features=[4])
    edges = ["embed->m0", "m0.n5->a1.h0<q>", "m0.rest->logits", "m2.error->logits"]
    circuit = Circuit.of(graph, edges)
    save_circuit(circuit, tmp_path / "c")
    content = json.loads((tmp_path / "c" / "circuit.json").read_text())
    assert content["schema_version"] == 2
    assert content["graph"]["splits"][0] == {"layer": 0, "kind": "neuron", "indices": [1, 5]}
    assert load_circuit(tmp_path / "c") == circuit


def test_graphs_of_whole_mlps_are_stored_as_before(tmp_path: Path) -> None:
    save_circuit(Circuit.of(Graph(2, 2), ["embed->logits"]), tmp_path / "c")
    content = json.loads((tmp_path / "c" / "circuit.json").read_text())
    assert content["schema_version"] == 1
    assert "splits" not in content["graph"]


@pytest.mark.parametrize(
    ("split", "message"),
    [
        ({"layer": 2}, "not what it says"),
        ({"layer": -1}, "not what it says"),
        ({"indices": [5, 1]}, "in their order"),
        ({"indices": []}, "not what it says"),
        ({"indices": [1, 5, 7]}, "writers"),
        ({"kind": "head"}, "kind"),
    ],
)
def test_stored_parts_that_are_none_are_refused(
    tmp_path: Path, split: dict[str, object], message: str
) -> None:
    graph = Graph(2, 2).refine("m0", neurons=[1, 5])
    save_circuit(Circuit.of(graph, ["embed->m0"]), tmp_path / "c")
    file = tmp_path / "c" / "circuit.json"
    content = json.loads(file.read_text())
    content["graph"]["splits"][0].update(split)
    file.write_text(json.dumps(content))
    with pytest.raises(DataError, match=message):
        load_circuit(tmp_path / "c")
