"""EAP-IG's and MIB's JSON: every edge by its name, with its score and whether it is kept."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from circuitgraph.catalog.formats.base import Decoded, Encoded, decoder, encoder
from circuitgraph.catalog.formats.mib_layout import (
    INPUT,
    describe_graph,
    find_kept_nodes,
    fit_graph,
    lay_out,
    list_edge_names,
    list_writer_names,
    make_mib_graph,
    note_bos,
)
from circuitgraph.errors import CircuitGraphError, DataError, check_at_least, list_problems
from circuitgraph.foreign import read_json
from circuitgraph.graph.circuit import Circuit
from circuitgraph.graph.graph import Graph

_NEURONS = ("neurons", "neurons_scores")


@encoder("mib-json", suffix=".json")
def encode_mib_json(circuit: Circuit, d_model: int) -> Encoded:
    """EAP-IG and MIB: scores of all edges, and which are kept.

    Args:
        d_model: width of the model's stream, which the format asks for.
    """
    check_at_least("d_model", d_model, 1)
    whole, notes = lay_out(circuit, "mib-json")
    assert whole.scores is not None  # noqa: S101 - laid out with scores
    kept = dict(zip(list_writer_names(whole.graph), find_kept_nodes(whole).tolist(), strict=True))
    values = zip(
        list_edge_names(whole.graph), whole.scores.tolist(), whole.mask.tolist(), strict=True
    )
    content = {
        "cfg": describe_graph(whole.graph, d_model),
        "nodes": {name: {"in_graph": value} for name, value in {**kept, "logits": True}.items()},
        "edges": {name: {"score": score, "in_graph": is_in} for name, score, is_in in values},
    }
    return Encoded(json.dumps(content).encode(), (*notes, *note_bos(circuit)))


@decoder("mib-json", suffix=".json", bos="yes")
def decode_mib_json(path: Path, graph: Graph | None) -> Decoded:
    """EAP-IG and MIB: scores of all edges, and which are kept."""
    content = read_json(path)
    if not isinstance(content, dict) or not {"cfg", "nodes", "edges"} <= content.keys():
        raise DataError("it has not the keys cfg, nodes and edges of EAP-IG's and MIB's files")
    if not isinstance(content["nodes"], dict) or not isinstance(content["edges"], dict):
        raise DataError("its nodes and edges are no objects with a name for each")
    whole = make_mib_graph(content["cfg"], path.stat().st_size)
    notes = _check_nodes(whole, content["nodes"])
    circuit = _read_edges(whole, content["edges"])
    if circuit.tested is not None:
        n_left = int((~circuit.tested).sum())
        notes.append(f"{n_left:,} edges are not listed: they count as absent and never scored.")
    return Decoded(fit_graph(circuit, graph), tuple(notes))


def _check_nodes(graph: Graph, nodes: Mapping[str, Any]) -> list[str]:
    """Refuse unknown nodes and nodes of which only a part is kept; what else is not taken."""
    known, problems = {*list_writer_names(graph), "logits"}, []
    for name, value in nodes.items():
        if name not in known:
            problems.append(_explain_unknown(graph, name))
        elif not isinstance(value, dict) or not isinstance(value.get("in_graph"), bool):
            problems.append(f"{name} does not say in_graph: true or false")
        elif not all(value.get("neurons") or [True]):
            problems.append(f"of {name} only some dimensions are kept, which no circuit here says")
    if problems:
        raise DataError(list_problems("its nodes cannot be taken:", problems))
    notes = []
    if any("score" in value for value in nodes.values()):
        notes.append("Scores of nodes are left out: circuits here have scores of edges.")
    if any(key in value for value in nodes.values() for key in _NEURONS):
        notes.append("Scores of single dimensions of nodes are left out.")
    return notes


def _explain_unknown(graph: Graph, name: str) -> str:
    try:
        graph.writer_index(name)
    except CircuitGraphError as error:
        return str(error)
    return f"{name!r} is called {INPUT!r} or otherwise in this format"


def _read_edges(graph: Graph, edges: Mapping[str, Any]) -> Circuit:
    numbers = {name: i for i, name in enumerate(list_edge_names(graph))}
    scores, mask, listed = np.zeros(graph.n_edges), *np.zeros((2, graph.n_edges), bool)
    problems = []
    for name, value in edges.items():
        try:
            edge = numbers[name] if name in numbers else graph.edge_index(name)
        except CircuitGraphError as error:
            problems.append(str(error))
            continue
        if listed[edge]:
            problems.append(f"{name} is there twice, under two names")
        if problem := _find_fault(value):
            problems.append(f"{name} {problem}")
            continue
        scores[edge], mask[edge], listed[edge] = value["score"], value["in_graph"], True
    if problems:
        raise DataError(list_problems("its edges cannot be taken:", problems))
    return Circuit(graph, mask, scores, None if listed.all() else listed)


def _find_fault(value: Any) -> str | None:
    """What is wrong with the entry of one edge; None if nothing is."""
    if not isinstance(value, dict) or not isinstance(value.get("in_graph"), bool):
        return "does not say in_graph: true or false"
    score = value.get("score")
    if isinstance(score, bool) or not isinstance(score, int | float):
        return "has no score that is a number"
    return None
