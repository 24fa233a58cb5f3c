"""The readings of ``circuitgraph view --run-model``: the circuit's own model on its own prompts."""

from __future__ import annotations

from pathlib import Path

from circuitgraph.analysis.circuit_nodes import read_circuit_edges, read_circuit_nodes
from circuitgraph.api import prepare_experiment
from circuitgraph.catalog.analysis_record import Reading
from circuitgraph.cli.evaluate import choose_prompts
from circuitgraph.cli.inputs import (
    check_same_model,
    keep_compiled_programs,
    load_inputs,
)
from circuitgraph.cli.options import AS_RECORDED, gather_loading
from circuitgraph.cli.output import Output
from circuitgraph.drawing.page.entry import Entry
from circuitgraph.errors import ArgumentError
from circuitgraph.models.loading import find_model

_PROMPTS = 12


def read_model(output: Output, path: Path, entry: Entry) -> dict[str, Reading]:
    """What the nodes and edges of a stored circuit do, by the titles of readings.

    Raises:
        ArgumentError: the circuit names no model or no task.
        ModelError: the model is another one than the circuit was found in.
    """
    record, circuit = entry.record, entry.circuit
    if record.model is None or record.task is None:
        raise ArgumentError(
            "This circuit names no model and task that could be run: leave out --run-model."
        )
    keywords = gather_loading(AS_RECORDED, circuit.provenance, is_own=True, path=path)
    task, data, arguments = choose_prompts(record, None, None, path)
    keep_compiled_programs()
    name = find_model(record.model.name, path)
    model, loaded = load_inputs(output, name, task, data, record.task.seed, arguments, keywords)
    check_same_model(record.model, model, "To look at it all the same, leave out --run-model.")
    with output.show_spinner("reading its nodes and edges"):
        experiment, prompts = prepare_experiment(
            model,
            loaded,
            split="evaluation" if loaded.count_pairs("evaluation") != 0 else "discovery",
            graph=circuit.graph,
            metric=record.metric,
            ablation=record.ablation or "resample",
            n_prompts=_PROMPTS,
        )
        readings = read_circuit_nodes(model, prompts, circuit)
        edges = read_circuit_edges(experiment, prompts, circuit)
    return readings if edges is None else {**readings, "prompts": edges}
