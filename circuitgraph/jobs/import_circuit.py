"""Circuits read from the formats of other tools, for a model and a task of ours."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

from circuitgraph.catalog.formats.base import choose_format, decoders
from circuitgraph.catalog.records import ImportedRecord
from circuitgraph.graph.circuit import Circuit
from circuitgraph.jobs.workbench import draw_prompts
from circuitgraph.models.language_model import LanguageModel
from circuitgraph.tasks.base import Task
from circuitgraph.tasks.describing import describe_model, describe_task


def import_circuit(
    path: str | Path,
    format: str | None = None,
    *,
    model: LanguageModel | None = None,
    task: Task | None = None,
    grouped: bool = False,
) -> Circuit:
    """Read a circuit that another tool wrote.

    Args:
        path: of the file. What it holds is read, never run.
        format: its name; by default the one whose files end as ``path`` does.
        model: whose circuit it is. Without it the graph is as the file says, where it does.
        task: what it is the circuit of.
        grouped: the file has one k and one v for each key-value head of the model.

    Returns:
        The circuit in the model's graph. Its provenance names model, task and file;
        ``provenance["imported"]["notes"]`` says what of the file was not taken.

    Raises:
        UnknownNameError: no such format.
        ArgumentError: an ending from which the format cannot be told.
        DataError: the file cannot be read, is damaged, or is of another graph than the model's.
    """
    path = Path(path)
    chosen = choose_format(decoders, format, path)
    decoded = chosen.decode_file(path, None if model is None else model.graph(grouped=grouped))
    imported = ImportedRecord(
        format=chosen.name,
        file=path.name,
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
        notes=list(decoded.notes),
    )
    provenance: dict[str, Any] = {"imported": imported.model_dump(mode="json")}
    if model is not None:
        provenance["model"] = describe_model(model).model_dump(mode="json")
    if task is not None:
        record = describe_task(task, draw_prompts(task, "discovery"), "discovery")
        provenance["task"] = record.model_dump(mode="json")
    return replace(decoded.circuit, provenance=provenance)
