"""Circuits on disk: ``circuit.json`` to read, ``scores.safetensors`` with a score per edge."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

import numpy as np
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from circuitgraph.catalog.folders import CIRCUIT_FILE, CURVE_FILE, SCORES_FILE, new_folder
from circuitgraph.catalog.records import (
    HEAD_SPLIT_SCHEMA_VERSION,
    SCHEMA_VERSION,
    SPLIT_SCHEMA_VERSION,
    CircuitRecord,
    EdgeRecord,
    EvaluationRecord,
    GraphRecord,
    HeadSplitRecord,
    MlpSplitRecord,
    describe_fields,
)
from circuitgraph.errors import CircuitGraphError, DataError, first_line, list_problems
from circuitgraph.foreign import read_json
from circuitgraph.graph.circuit import Circuit
from circuitgraph.graph.graph import Graph, Split
from circuitgraph.graph.head_split import HeadSplit

_LARGEST_UNSCORED = 2**22  # edges of a graph whose scores are not stored


def make_circuit_record(
    circuit: Circuit, evaluation: EvaluationRecord | None = None
) -> CircuitRecord:
    """The record of a circuit: its edges, graph and provenance, and an evaluation if there is one.

    Raises:
        DataError: a score is not finite, or the provenance is not as `CircuitRecord` says.
    """
    graph = circuit.graph
    edges = []
    for i in np.flatnonzero(circuit.mask):
        effect = circuit.effect_of(i)
        if effect is not None and not np.isfinite(effect):
            raise DataError(
                f"The score of {graph.edges[i]} is {effect}, but must be a finite number to be "
                "stored."
            )
        edges.append(EdgeRecord(edge=graph.edges[i], effect=effect))
    version = SPLIT_SCHEMA_VERSION if graph.splits else SCHEMA_VERSION
    version = HEAD_SPLIT_SCHEMA_VERSION if graph.head_splits else version
    try:
        return CircuitRecord(
            **{**circuit.provenance, "schema_version": version},
            graph=make_graph_record(graph),
            edges=edges,
            evaluation=evaluation,
        )
    except ValidationError as error:
        raise DataError(
            list_problems(
                "The provenance of this circuit cannot be stored:", describe_fields(error)
            )
        ) from error


def make_graph_record(graph: Graph) -> GraphRecord:
    """The record of a graph: its shape, its convention, its counts."""
    parts = ["one embedding writer"]
    parts += ["direct q/k/v edges (ACDC reference)"] * graph.direct
    parts += ["k and v of each key-value head"] * (graph.n_kv_heads is not None)
    parts += ["some MLPs in parts"] * bool(graph.splits)
    parts += ["some heads in parts"] * bool(graph.head_splits)
    return GraphRecord(
        convention=", ".join(parts),
        n_layers=graph.n_layers,
        n_heads=graph.n_heads,
        mlp=graph.mlp,
        direct=graph.direct,
        parallel=graph.parallel,
        coupled=graph.coupled,
        n_kv_heads=graph.n_kv_heads,
        n_writers=len(graph.writers),
        n_readers=len(graph.readers),
        n_edges=graph.n_edges,
        splits=[
            MlpSplitRecord(
                layer=split.layer,
                kind=split.kind,
                indices=list(split.indices),
                frozen=split.frozen,
                own_inputs=split.own_inputs,
            )
            for split in graph.splits
        ],
        head_splits=[
            HeadSplitRecord(layer=split.layer, head=split.head, sources=list(split.sources))
            for split in graph.head_splits
        ],
    )


def make_graph(record: GraphRecord) -> Graph:
    """The graph that a record describes.

    Raises:
        ArgumentError, GraphError: there is no such graph.
    """
    names = {field.name for field in fields(Graph)} & set(GraphRecord.model_fields)
    shape = {name: getattr(record, name) for name in names - {"splits", "head_splits"}}
    splits = tuple(
        Split(s.layer, s.kind, tuple(s.indices), s.frozen, s.own_inputs) for s in record.splits
    )
    head_splits = tuple(HeadSplit(s.layer, s.head, tuple(s.sources)) for s in record.head_splits)
    return Graph(**shape, splits=splits, head_splits=head_splits)


def save_circuit(
    circuit: Circuit,
    folder: str | Path,
    *,
    evaluation: EvaluationRecord | None = None,
    overwrite: bool = False,
) -> Path:
    """Write a circuit into a new folder; either all of it appears or nothing.

    Raises:
        OutputError: the folder exists and is not to be overwritten, or cannot be written.
    """
    with new_folder(folder, overwrite=overwrite) as inside:
        write_circuit(circuit, inside, evaluation)
    return Path(folder)


def write_circuit(
    circuit: Circuit, inside: Path, evaluation: EvaluationRecord | None = None
) -> None:
    """Write the two files of a circuit into an existing folder."""
    (inside / CIRCUIT_FILE).write_text(
        make_circuit_record(circuit, evaluation).to_json(), encoding="utf-8"
    )
    arrays: dict[str, np.ndarray] = {"mask": circuit.mask.astype(np.uint8)}
    if circuit.scores is not None:
        arrays["effect"] = np.ascontiguousarray(circuit.scores, np.float64)
    if circuit.tested is not None:
        arrays["tested"] = circuit.tested.astype(np.uint8)
    order = (
        "one value per edge of the graph in circuit.json: reader by reader, writer by writer, "
        "direct edges last"
    )
    save_file(arrays, inside / SCORES_FILE, metadata={"order": order})
    # safetensors makes files that only the owner can read; both files get the usual mode.
    (inside / SCORES_FILE).chmod((inside / CIRCUIT_FILE).stat().st_mode)


def load_record(path: str | Path) -> CircuitRecord:
    """Read ``circuit.json``, given its path or its folder.

    Raises:
        DataError: missing, not JSON, of a newer schema, or not as the schema says.
    """
    file = _locate_record(path)
    try:
        content = read_json(file)
    except (OSError, ValueError) as error:
        raise DataError(
            f"{str(file)!r} cannot be read as JSON: {error}. Name the folder of a circuit, or its "
            f"{CIRCUIT_FILE}."
        ) from error
    version = content.get("schema_version") if isinstance(content, dict) else None
    if isinstance(version, int) and version > HEAD_SPLIT_SCHEMA_VERSION:
        raise DataError(
            f"{str(file)!r} has schema version {version}; this circuitgraph reads up to "
            f"{HEAD_SPLIT_SCHEMA_VERSION}: update it."
        )
    try:
        return CircuitRecord.model_validate(content)
    except ValidationError as error:
        title = f"{str(file)!r} is not the record of a circuit:"
        raise DataError(list_problems(title, describe_fields(error))) from error


def load_circuit(path: str | Path) -> Circuit:
    """Read a circuit back, given its folder or its ``circuit.json``.

    Raises:
        DataError: a file is damaged, or the two disagree.
    """
    record, file = load_record(path), _locate_record(path)
    try:
        _check_graph(record, file.parent / SCORES_FILE)
        graph = make_graph(record.graph)
        if make_graph_record(graph) != record.graph:
            raise DataError(
                f"its graph is called {record.graph.convention!r}, but is "
                f"{make_graph_record(graph).convention!r}"
            )
        mask = Circuit.of(graph, [edge.edge for edge in record.edges]).mask
        scores, tested = _load_scores(file.parent / SCORES_FILE, graph, mask, record.edges)
    except CircuitGraphError as error:
        raise DataError(f"{str(file)!r} is damaged: {error}") from error
    provenance = record.model_dump(mode="json", exclude={"graph", "edges", "evaluation"})
    return Circuit(graph, mask, scores, tested, provenance)


def _check_graph(record: CircuitRecord, scores: Path) -> None:
    """Refuse a graph that is not of its own counts, or too large for what is stored of it, before
    it is built.
    """
    graph = record.graph
    if min(graph.n_layers, graph.n_heads, 1 if graph.n_kv_heads is None else graph.n_kv_heads) < 1:
        return  # which the graph itself refuses
    counts = count_graph(graph)
    said = (graph.n_writers, graph.n_readers, graph.n_edges)
    if counts != said:
        raise DataError(
            f"a graph such as it describes has {counts[0]} writers, {counts[1]} readers and "
            f"{counts[2]} edges, which is not what it says"
        )
    if len(record.edges) > graph.n_edges:
        raise DataError(f"it keeps {len(record.edges)} edges, but its graph has {graph.n_edges}")
    if graph.n_edges > _LARGEST_UNSCORED and not scores.is_file():
        raise DataError(
            f"its graph has {graph.n_edges:,} edges; of so many there must be a {SCORES_FILE} "
            "beside it"
        )
    if scores.is_file() and graph.n_edges > scores.stat().st_size:
        raise DataError(
            f"{SCORES_FILE} cannot be read: it has {scores.stat().st_size} bytes, but the graph "
            f"{graph.n_edges} edges"
        )


def count_graph(graph: GraphRecord | Graph) -> tuple[int, int, int]:
    """Writers, readers and edges of a graph, or of the one that a record describes, unbuilt."""
    layers, heads, mlp = graph.n_layers, graph.n_heads, int(graph.mlp)
    into_heads = 3 * heads if graph.n_kv_heads is None else heads + 2 * graph.n_kv_heads
    n_writers = 1 + layers * (heads + mlp)
    n_readers = 1 + layers * (into_heads + mlp)
    # Every reader of a layer sees the embedding and all layers below; an MLP its layer's heads too.
    below = layers + (heads + mlp) * (layers * (layers - 1) // 2)
    n_edges = (into_heads + mlp) * below + n_writers
    n_edges += 0 if graph.parallel else layers * mlp * heads
    own = {split.layer: len(split.indices) * split.own_inputs for split in graph.splits}
    n_readers += sum(own.values())
    for layer, n in own.items():
        n_edges += n * (1 + layer * (heads + mlp) + heads * (not graph.parallel))
    for split in graph.splits:
        more = len(split.indices) + (split.kind == "feature")  # beside the rest, which was counted
        above = sum(n for layer, n in own.items() if layer > split.layer)
        n_writers += more
        n_edges += more * ((layers - 1 - split.layer) * (into_heads + mlp) + above + 1)
    for split in graph.head_splits:
        more = len(split.sources)  # beside the rest, which was counted
        first = split.layer + graph.parallel  # whose MLP is the first that sees the head
        n_writers += more
        above = sum(n for layer, n in own.items() if layer >= first)
        into_mlps = mlp * (layers - first)
        n_edges += more * ((layers - 1 - split.layer) * into_heads + into_mlps + above + 1)
    return n_writers, n_readers, n_edges + graph.direct * layers * into_heads


def _locate_record(path: str | Path) -> Path:
    path = Path(path)
    file = path / CIRCUIT_FILE if os.path.isdir(path) else path
    if not os.path.isfile(file):  # False for a name that no file can have
        if os.path.isfile(path / CURVE_FILE):
            raise DataError(
                f"{str(path)!r} holds a curve: name the folder of one of its circuits in it."
            )
        raise DataError(
            f"There is no circuit at {str(path)!r}: expected a folder with {CIRCUIT_FILE}, or that "
            "file."
        )
    return file


def _load_scores(
    file: Path, graph: Graph, mask: np.ndarray, edges: Sequence[EdgeRecord]
) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Scores and tested edges: from the scores' file, or without that file of the kept edges."""
    effects = {
        graph.edge_index(edge.edge): edge.effect for edge in edges if edge.effect is not None
    }
    if not file.is_file():
        scores, tested = np.zeros(graph.n_edges), np.zeros(graph.n_edges, bool)
        scores[list(effects)], tested[list(effects)] = list(effects.values()), True
        return (scores, tested) if effects else (None, None)
    try:
        arrays = load_file(file)
    except (SafetensorError, OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise DataError(f"{SCORES_FILE} cannot be read: {first_line(error)}") from error
    for name, array in arrays.items():
        if array.shape != mask.shape:
            raise DataError(
                f"{SCORES_FILE} has {name!r} of shape {array.shape}, but the graph {mask.shape[0]} "
                "edges"
            )
    scores, tested = arrays.get("effect"), arrays.get("tested")
    if scores is not None and (scores.dtype.kind != "f" or not np.isfinite(scores).all()):
        raise DataError(f"{SCORES_FILE} has scores that are no finite numbers ({scores.dtype})")
    if not np.array_equal(arrays.get("mask", mask).astype(bool), mask):
        raise DataError(f"{CIRCUIT_FILE} and {SCORES_FILE} keep different edges")
    if effects and (scores is None or any(scores[i] != x for i, x in effects.items())):
        raise DataError(f"{CIRCUIT_FILE} and {SCORES_FILE} give different effects")
    return scores, None if tested is None else tested.astype(bool)
