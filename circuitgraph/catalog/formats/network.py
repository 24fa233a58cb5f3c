"""A circuit as a networkx graph: what the formats of graph tools are written from."""

from __future__ import annotations

from typing import Any

import networkx as nx
import numpy as np

from circuitgraph.graph.circuit import Circuit
from circuitgraph.graph.graph import Graph, Reader
from circuitgraph.graph.node import Node

COMPUTED = "computed"  # from a shared input to the nodes that are computed from it


def make_multigraph(circuit: Circuit) -> tuple[nx.MultiDiGraph, list[str]]:
    """The circuit with an edge for each kept edge, q, k and v beside each other, and notes.

    Nodes have ``kind``, ``layer`` and ``index``; edges ``edge`` (their name), ``input`` (q, k, v or
    x), ``relation`` (``edge``) and, where measured, ``score``. An input that several nodes share (a
    key-value head, a split MLP) is a node of its own, with an edge of the relation ``computed`` to
    each of these.
    """
    graph, (dst, src) = circuit.graph, circuit.graph.ends
    network = nx.MultiDiGraph(**_describe_circuit(circuit))
    kept = np.flatnonzero(circuit.mask & (src >= 0))
    for edge in kept:
        writer, reader = graph.writers[src[edge]].node, graph.readers[dst[edge]]
        for node in (writer, reader.node):
            _add_node(network, node, graph)
        facts: dict[str, Any] = {"edge": graph.edges[edge], "relation": "edge"}
        score = circuit.effect_of(edge)
        facts |= {} if score is None else {"score": score}
        network.add_edge(str(writer), str(reader.node), reader.input, input=reader.input, **facts)
    for reader in dict.fromkeys(graph.readers[index] for index in dst[kept]):
        _add_shared(network, graph, reader)
    return network, _describe_losses(circuit)


def _describe_circuit(circuit: Circuit) -> dict[str, Any]:
    """What a reader of the file should know of the whole circuit: plain values only."""
    facts, graph = circuit.provenance, circuit.graph
    about: dict[str, Any] = {
        "n_layers": graph.n_layers,
        "n_heads": graph.n_heads,
        "n_edges": graph.n_edges,
    }
    about |= {part: (facts.get(part) or {}).get("name") for part in ("model", "task", "algorithm")}
    about |= {part: facts.get(part) for part in ("metric", "ablation")}
    return {name: value for name, value in about.items() if value is not None}


def _add_node(network: nx.MultiDiGraph, node: Node, graph: Graph) -> None:
    layer = graph.n_layers if node.kind == "logits" else node.layer
    network.add_node(str(node), kind=node.kind, layer=layer, index=node.index)


def _add_shared(network: nx.MultiDiGraph, graph: Graph, reader: Reader) -> None:
    """The edges from a shared input to those of its nodes that the circuit has."""
    for writer in reader.feeds:
        name = graph.writers[writer].name
        if name != str(reader.node) and name in network:
            network.add_edge(
                str(reader.node), name, reader.input, input=reader.input, relation=COMPUTED
            )


def _describe_losses(circuit: Circuit) -> list[str]:
    notes = []
    if circuit.scores is not None:
        notes.append("Edges that are not kept, and their scores, are left out.")
    if n_direct := int((circuit.mask & (circuit.graph.ends[1] < 0)).sum()):
        notes.append(
            f"{n_direct} direct q, k and v edges lead from a head to itself and are left out."
        )
    if circuit.provenance:
        notes.append("Of where the circuit came from only names are held, no hashes or settings.")
    return notes
