"""How EAP-IG and MIB lay a circuit out: its configuration, its nodes' names, its matrices.

Read from hannamw/EAP-IG's ``Graph`` (``to_json``, ``to_pt``, ``from_json``, ``from_pt``). Its graph
is ours without direct edges, key-value groups and parts of MLPs; the embedding is ``input``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from circuitgraph.catalog.formats.base import check_size, refuse_parts
from circuitgraph.errors import ArgumentError, DataError, list_problems
from circuitgraph.graph.circuit import Circuit
from circuitgraph.graph.graph import Graph
from circuitgraph.graph.node import Node, edge_name, input_name

INPUT = "input"
_LARGEST = 4096  # layers, or heads of one
_PARALLEL = "parallel_attn_mlp"


def lay_out(circuit: Circuit, name: str) -> tuple[Circuit, list[str]]:
    """The circuit in the graph that the format knows, every edge with a score; notes of what went.

    Args:
        name: of the format, for messages.

    Raises:
        ArgumentError: a circuit that would be another one in that graph.
    """
    graph = circuit.graph
    refuse_parts(name, circuit)
    if graph.direct:
        raise ArgumentError(
            f"The format {name!r} has no direct q, k and v edges, without which the heads of this "
            "circuit would read other values. Search without --direct, or use edge-list."
        )
    notes = _describe_losses(circuit)
    scores = circuit.mask.astype(float) if circuit.scores is None else circuit.scores.astype(float)
    if circuit.tested is not None:
        scores = np.where(circuit.tested, scores, 0.0)
    if not np.isfinite(scores).all():
        raise ArgumentError(
            f"{int((~np.isfinite(scores)).sum())} scores of this circuit are no finite numbers: "
            f"the format {name!r} cannot hold them."
        )
    whole = Graph(graph.n_layers, graph.n_heads, parallel=graph.parallel)
    origin = find_origins(whole, graph)
    is_there = origin >= 0
    mask = is_there & circuit.mask[origin]
    laid_out = Circuit(whole, mask, np.where(is_there, scores[origin], 0.0))
    if n_hanging := len(laid_out) - len(laid_out.pruned()):
        notes.append(
            f"{n_hanging} of {len(laid_out)} edges lie on no path from the embedding to the "
            "logits: MIB's evaluator drops them."
        )
    return laid_out, notes


def _describe_losses(circuit: Circuit) -> list[str]:
    notes = []
    graph, tested = circuit.graph, circuit.tested
    if circuit.scores is None:
        notes.append("The circuit has no scores: 1 stands for its edges, 0 for all others.")
    elif tested is not None and not tested.all():
        notes.append(
            f"{int((~tested).sum()):,} of {graph.n_edges:,} edges were never tested: they have the "
            "score 0, as though they had no effect."
        )
    if graph.n_kv_heads is not None:
        notes.append(
            f"Its {graph.n_kv_heads} key-value heads are not held: an edge into one is written for "
            "each of the heads that share it, with the same score."
        )
    if not graph.mlp:
        notes.append("The model has no MLPs; the format's graph has: their edges are absent.")
    if graph.coupled:
        notes.append("That heads share a post-norm, so that one moves all of a layer, is not held.")
    return notes


def find_origins(graph: Graph, other: Graph) -> Int[np.ndarray, " edges"]:
    """For each edge of a graph the edge of another one that it stands for, by number; -1 for none.

    The other graph has the same layers and heads; its k and v may be of key-value heads.
    """
    numbers = np.full((len(other.readers) + 1, len(other.writers) + 1), -1)
    dst, src = other.ends
    numbers[dst[src >= 0], src[src >= 0]] = np.flatnonzero(src >= 0)
    size = 1 if other.n_kv_heads is None else other.n_heads // other.n_kv_heads
    readers = {reader.name: i for i, reader in enumerate(other.readers)}
    writers = {writer.name: i for i, writer in enumerate(other.writers)}

    def name_reader(node: Node, node_input: str) -> str:
        if other.n_kv_heads is not None and node_input in ("k", "v"):
            node = Node("kv", node.layer, node.index // size)
        return input_name(node, node_input)

    to_reader = np.array([readers.get(name_reader(r.node, r.input), -1) for r in graph.readers])
    to_writer = np.array([writers.get(writer.name, -1) for writer in graph.writers])
    dst, src = graph.ends
    # what has no counterpart falls on the last row or column, which are empty
    return numbers[to_reader[dst], to_writer[src]]


def describe_graph(graph: Graph, d_model: int) -> dict[str, Any]:
    """The configuration that files of the format begin with."""
    shape = {"n_layers": graph.n_layers, "n_heads": graph.n_heads}
    return {**shape, _PARALLEL: graph.parallel, "d_model": d_model}


def make_mib_graph(config: Any, n_bytes: int) -> Graph:
    """The graph of a file's configuration.

    Args:
        n_bytes: of the file.

    Raises:
        DataError: a configuration that says no shape, or a graph far larger than the file.
    """
    problems = []
    config = config if isinstance(config, Mapping) else {}
    for key in ("n_layers", "n_heads"):
        value = config.get(key)
        if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= _LARGEST:
            problems.append(f"cfg.{key} is {value!r}, but must be from 1 to {_LARGEST}")
    if not isinstance(config.get(_PARALLEL), bool):
        problems.append(f"cfg.{_PARALLEL} is {config.get(_PARALLEL)!r}, but must be true or false")
    if problems:
        raise DataError("; ".join(problems))
    graph = Graph(config["n_layers"], config["n_heads"], parallel=config[_PARALLEL])
    check_size(graph, n_bytes)
    return graph


def fit_graph(circuit: Circuit, graph: Graph | None) -> Circuit:
    """The circuit in a model's own graph, if one is given.

    Raises:
        DataError: the model has another shape, or lacks what the circuit keeps.
    """
    if graph is None:
        return circuit
    whole = circuit.graph
    shape = [(g.n_layers, g.n_heads, g.parallel or not g.mlp) for g in (whole, graph)]
    if shape[0][:2] != shape[1][:2] or (graph.mlp and whole.parallel != graph.parallel):
        raise DataError(f"it is of {whole}, but the model's graph is {graph}")
    target = replace(graph, direct=False, n_kv_heads=None, splits=(), head_splits=())
    lost = circuit.mask & (find_origins(whole, target) < 0)
    if lost.any():
        names = [whole.edges[edge] for edge in np.flatnonzero(lost)]
        raise DataError(
            list_problems("it keeps edges that the model does not have:", names, limit=5)
        )
    origin = find_origins(target, whole)
    parts = (circuit.scores, circuit.tested)
    scores, tested = (None if part is None else part[origin] for part in parts)
    return Circuit(target, circuit.mask[origin], scores, tested)


def find_kept_nodes(circuit: Circuit) -> Bool[np.ndarray, " writers"]:
    """Which nodes are in the circuit: kept edges both enter and leave them; the input needs none.

    ``Graph.prune`` of EAP-IG sets the same.
    """
    graph = circuit.graph
    dst, src = (ends[circuit.mask] for ends in graph.ends)
    leaves, enters = np.zeros((2, len(graph.writers)), bool)
    leaves[src] = True
    for reader in np.unique(dst):
        enters[list(graph.readers[reader].feeds)] = True
    enters[0] = True
    return leaves & enters


def list_writer_names(graph: Graph) -> list[str]:
    """The rows of the matrices."""
    return [INPUT, *(writer.name for writer in graph.writers[1:])]


def order_columns(graph: Graph) -> Int[np.ndarray, " readers"]:
    """The readers as the matrices' columns have them: q of all heads of a layer, k, v, its MLP."""
    keys = [
        (reader.node == Node("logits"), reader.node.layer, reader.node.is_in_mlp, reader.input)
        for reader in graph.readers
    ]
    order = {"q": 0, "k": 1, "v": 2, "x": 3}
    ranked = sorted(range(len(keys)), key=lambda i: (*keys[i][:3], order[keys[i][3]], i))
    return np.array(ranked)


def list_edge_names(graph: Graph) -> list[str]:
    """The name of each edge, in our order."""
    writers, readers = list_writer_names(graph), [reader.name for reader in graph.readers]
    return [edge_name(writers[s], readers[d]) for d, s in zip(*graph.ends, strict=True)]


def note_bos(circuit: Circuit) -> list[str]:
    """That MIB would read other prompts than the search did, where that is so."""
    task = circuit.provenance.get("task")
    if task is None or task["arguments"].get("bos") == "yes":
        return []
    return [
        "The circuit was searched for without BOS before the prompts; MIB puts it there "
        "(prepend_bos): search with --bos yes for numbers that compare."
    ]


def check_numbers(
    scores: Float[np.ndarray, " edges"], names: list[str]
) -> Float[np.ndarray, " edges"]:
    """The scores themselves, if all are finite numbers.

    Raises:
        DataError: the first few that are not, by edge.
    """
    bad = np.flatnonzero(~np.isfinite(scores))
    if len(bad):
        problems = [f"{names[edge]}: {scores[edge]}" for edge in bad]
        raise DataError(list_problems("its scores are no finite numbers:", problems, limit=5))
    return scores
