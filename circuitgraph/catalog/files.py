"""Circuits on disk: ``circuit.json`` to read, ``scores.safetensors`` with a number for every edge."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from circuitgraph.catalog.records import (
    SCHEMA_VERSION,
    CircuitRecord,
    EdgeRecord,
    EvaluationRecord,
    GraphRecord,
)
from circuitgraph.errors import DataError, OutputError, list_problems
from circuitgraph.graph.circuit import Circuit
from circuitgraph.graph.graph import Graph

CIRCUIT_FILE = "circuit.json"
SCORES_FILE = "scores.safetensors"
_CONVENTIONS = {
    False: "one embedding writer",
    True: "one embedding writer, direct q/k/v edges (ACDC reference)",
}


def record_of(circuit: Circuit, evaluation: EvaluationRecord | None = None) -> CircuitRecord:
    """The record of a circuit: its edges, graph and provenance, and an evaluation if there is one."""
    graph = circuit.graph
    edges = []
    for i in np.flatnonzero(circuit.mask):
        measured = circuit.scores is not None and (circuit.tested is None or circuit.tested[i])
        effect = float(circuit.scores[i]) if measured and circuit.scores is not None else None
        edges.append(EdgeRecord(edge=graph.edges[i], effect=effect))
    return CircuitRecord(
        **dict(circuit.provenance),
        graph=GraphRecord(
            convention=_CONVENTIONS[graph.direct],
            n_layers=graph.n_layers,
            n_heads=graph.n_heads,
            mlp=graph.mlp,
            direct=graph.direct,
            n_writers=len(graph.writers),
            n_readers=len(graph.readers),
            n_edges=graph.n_edges,
        ),
        edges=edges,
        evaluation=evaluation,
    )


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


def write_circuit(circuit: Circuit, inside: Path, evaluation: EvaluationRecord | None = None) -> None:
    """Write the two files of a circuit into an existing folder."""
    (inside / CIRCUIT_FILE).write_text(record_of(circuit, evaluation).to_json(), encoding="utf-8")
    arrays: dict[str, np.ndarray] = {"mask": circuit.mask.astype(np.uint8)}
    if circuit.scores is not None:
        arrays["effect"] = np.ascontiguousarray(circuit.scores, np.float64)
    if circuit.tested is not None:
        arrays["tested"] = circuit.tested.astype(np.uint8)
    order = "one value per edge of the graph in circuit.json: reader by reader, writer by writer, direct edges last"
    save_file(arrays, inside / SCORES_FILE, metadata={"order": order})


def load_record(path: str | Path) -> CircuitRecord:
    """Read ``circuit.json``, given its path or its folder.

    Raises:
        DataError: missing, not JSON, of a newer schema, or not as the schema says.
    """
    file = _file(path)
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{str(file)!r} cannot be read as JSON: {error}") from error
    version = content.get("schema_version") if isinstance(content, dict) else None
    if isinstance(version, int) and version > SCHEMA_VERSION:
        raise DataError(
            f"{str(file)!r} has schema version {version}; this circuitgraph reads up to {SCHEMA_VERSION}: update it."
        )
    try:
        return CircuitRecord.model_validate(content)
    except ValidationError as error:
        problems = [f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors(include_url=False)]
        raise DataError(list_problems(f"{str(file)!r} is not the record of a circuit:", problems)) from error


def load_circuit(path: str | Path) -> Circuit:
    """Read a circuit back, given its folder or its ``circuit.json``.

    Raises:
        DataError: a file is damaged, or the two disagree.
    """
    record, file = load_record(path), _file(path)
    described = record.graph
    graph = Graph(described.n_layers, described.n_heads, described.mlp, described.direct)
    if graph.n_edges != described.n_edges:
        raise DataError(f"{str(file)!r} speaks of {described.n_edges} edges, but such a graph has {graph.n_edges}.")
    circuit = Circuit.of(graph, [edge.edge for edge in record.edges])
    arrays = _read_scores(file.parent / SCORES_FILE)
    if "mask" in arrays and not np.array_equal(arrays["mask"].astype(bool), circuit.mask):
        raise DataError(f"{CIRCUIT_FILE} and {SCORES_FILE} in {str(file.parent)!r} keep different edges.")
    tested = arrays.get("tested")
    left_out = {"graph", "edges", "evaluation"}
    return Circuit(
        graph,
        circuit.mask,
        arrays.get("effect"),
        None if tested is None else tested.astype(bool),
        {k: v for k, v in record.model_dump(mode="json").items() if k not in left_out},
    )


def _file(path: str | Path) -> Path:
    path = Path(path)
    file = path / CIRCUIT_FILE if path.is_dir() else path
    if not file.is_file():
        raise DataError(f"There is no circuit at {str(path)!r}: expected a folder with {CIRCUIT_FILE}, or that file.")
    return file


def _read_scores(file: Path) -> dict[str, np.ndarray]:
    if not file.is_file():
        return {}
    try:
        return load_file(file)
    except (SafetensorError, OSError) as error:
        raise DataError(f"{str(file)!r} is damaged: {error}") from error


@contextmanager
def new_folder(folder: str | Path, *, overwrite: bool = False) -> Iterator[Path]:
    """A temporary folder that takes the name ``folder`` if the body ends well, and vanishes if it does not.

    Raises:
        OutputError: taken (and not to be overwritten), read-only or full.
    """
    target = Path(folder)
    try:
        if target.exists() and not overwrite:
            raise OutputError(f"{str(target)!r} exists already. Choose another name, or say to overwrite it.")
        if target.exists() and any(target.iterdir()) and not (target / CIRCUIT_FILE).is_file():
            raise OutputError(f"{str(target)!r} holds other things than a circuit and is not overwritten.")
        target.parent.mkdir(parents=True, exist_ok=True)
        inside = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    except OSError as error:
        raise _output_error(target, error) from error
    try:
        yield inside
        inside.chmod(0o755)
        if target.exists():
            shutil.rmtree(target)
        inside.rename(target)
    except (OSError, SafetensorError) as error:
        raise _output_error(target, error) from error
    finally:
        shutil.rmtree(inside, ignore_errors=True)


def _output_error(target: Path, error: Exception) -> OutputError:
    if isinstance(error, OutputError):
        return error
    reason = getattr(error, "strerror", None) or str(error)
    return OutputError(f"Nothing was written to {str(target)!r}: {reason}. Choose another folder.")
