"""The nodes, inputs and edges that a page draws, as plain values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool

from circuitgraph.drawing.page.entry import PageCircuit
from circuitgraph.graph.circuit import Circuit
from circuitgraph.graph.graph import Graph, Reader
from circuitgraph.graph.node import Node

_HEADS, _INPUT, _MLP = range(3)  # rows of a layer, from below
_N_ROWS = 3
_ROW_NAMES = ("", " MLP input", " MLP")
INPUT = "input"  # the kind of node that is the shared input of a split MLP


def list_nodes(graph: Graph, mask: Bool[np.ndarray, " edges"]) -> list[dict[str, Any]]:
    """What a kept edge touches, in the order of the forward pass, the logits last.

    Each has its ``name``, ``kind``, ``layer``, ``index_in_layer``, its ``rank`` from below with the
    name of that ``row``, and whether it is a ``source``, which nothing feeds.
    """
    nodes = {writer.name: writer.node for writer in graph.writers}
    sources = {graph.writers[index].name for index in graph.source_writers}
    shared = {reader.name: reader for reader in list_shared_inputs(graph, mask)}
    listed = []
    for name in _order_nodes(Circuit(graph, mask).nodes, nodes, shared):
        node = nodes.get(name)
        # the part of a head is drawn as heads are
        own = "head" if node and node.whole.kind == "head" else node.kind if node else "logits"
        kind = INPUT if name in shared else own
        layer = node.layer if node else shared[name].node.layer if name in shared else 0
        listed.append(
            {
                "name": name,
                "kind": kind,
                "layer": layer,
                "index_in_layer": node.index if node else -1,
                **_place_node(kind, layer, graph.n_layers),
                "source": name in sources,
            }
        )
    return listed


def _order_nodes(
    names: Sequence[str], nodes: Mapping[str, Node], shared: Mapping[str, Reader]
) -> list[str]:
    """Inputs of split MLPs before the first of their parts."""
    ordered: list[str] = []
    for name in names:
        whole = str(nodes[name].whole) if name in nodes else name
        if whole in shared and whole not in ordered:
            ordered.append(whole)
        ordered.append(name)
    return ordered + [name for name in shared if name not in ordered]


def _place_node(kind: str, layer: int, n_layers: int) -> dict[str, Any]:
    if kind in ("embed", "logits"):
        return {"rank": -1 if kind == "embed" else _N_ROWS * n_layers, "row": ""}
    row = _INPUT if kind == INPUT else _HEADS if kind == "head" else _MLP
    return {"rank": _N_ROWS * layer + row, "row": f"layer {layer}{_ROW_NAMES[row]}"}


def list_shared_inputs(graph: Graph, mask: Bool[np.ndarray, " edges"]) -> list[Reader]:
    """The inputs of split MLPs that a kept edge enters."""
    entered = np.unique(graph.ends[0][mask])
    return [graph.readers[index] for index in entered if graph.readers[index].feeds_parts]


def list_readers(
    graph: Graph, mask: Bool[np.ndarray, " edges"], numbers: Mapping[str, int]
) -> tuple[list[dict[str, Any]], dict[int, int]]:
    """The inputs that a kept edge enters, and the number of each by its index in the graph.

    Each has its ``kind`` (q, k, v, mlp or logits), the ``nodes`` at which edges into it are drawn
    to end, and the nodes that it ``moves``: whose value can change with it.
    """
    listed, places = [], {}
    for index in np.unique(graph.ends[0][mask]).tolist():
        reader = graph.readers[index]
        ends = (reader.name,) if reader.feeds_parts else graph.reader_nodes(reader)
        moved = [graph.writers[writer].name for writer in graph.moved_by(reader)]
        places[index] = len(listed)
        listed.append(
            {
                "name": reader.name,
                "kind": reader.kind,
                "nodes": [numbers[name] for name in ends if name in numbers],
                "moves": [numbers[name] for name in moved if name in numbers],
            }
        )
    return listed, places


def list_edges(
    graph: Graph,
    entries: Sequence[PageCircuit],
    numbers: Mapping[str, int],
    places: Mapping[int, int],
) -> list[dict[str, Any]]:
    """The edges that one of the circuits keeps, with what each circuit says of them."""
    circuits = [entry.circuit for entry in entries]
    known = [_list_edge_facts(entry) for entry in entries]
    certain = [_list_certainty(entry) for entry in entries]
    listed = []
    dst, src = graph.ends
    for edge in np.flatnonzero(np.any([circuit.mask for circuit in circuits], axis=0)).tolist():
        name, writer = graph.edges[edge], int(src[edge])
        effects = [circuit.effect_of(edge) if circuit.mask[edge] else None for circuit in circuits]
        listed.append(
            {
                "name": name,
                "from": None if writer < 0 else numbers[graph.writers[writer].name],
                "to": places[int(dst[edge])],
                "kept": [bool(circuit.mask[edge]) for circuit in circuits],
                "effects": effects,
                "facts": [fact for facts in known for fact in facts.get(name, [])],
                "certainty": next((kinds[name] for kinds in certain if name in kinds), ""),
                "readings": [],
            }
        )
    return listed


def _list_certainty(entry: PageCircuit) -> dict[str, str]:
    """Whether an edge is core, contingent or noise, where that was measured."""
    return {} if entry.certainty is None else {e.edge: e.kind for e in entry.certainty.edges}


def _list_edge_facts(entry: PageCircuit) -> dict[str, list[tuple[str, Any]]]:
    """What a judgement and repeated searches say of single edges."""
    facts: dict[str, list[tuple[str, Any]]] = {}
    judgement = entry.judgement
    if judgement and judgement.stability:
        n = judgement.stability.n_discoveries
        for edge, share in judgement.stability.frequency.items():
            facts.setdefault(edge, []).append((f"share of {n} searches that keep it", share))
    if judgement and judgement.minimality:
        for edge in judgement.minimality.unneeded:
            facts.setdefault(edge, []).append(("taken out alone", "not shown to matter"))
        if least := judgement.minimality.least:
            effect = least.effect.model_dump()
            facts.setdefault(least.edge, []).append(("lost without it (the least)", effect))
    if certainty := entry.certainty:
        for one in certainty.edges:
            name = f"{one.kind}: share of {len(certainty.searches)} searches that keep it"
            facts.setdefault(one.edge, []).append((name, one.frequency.model_dump()))
    return facts
