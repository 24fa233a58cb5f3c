"""The readings of ``circuitgraph view --run-model``: the circuit's own model on its own prompts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from circuitgraph.analysis.circuit_nodes import read_circuit_edges, read_circuit_nodes
from circuitgraph.catalog.analysis_record import Reading
from circuitgraph.cli.inputs import check_same_model, keep_compiled_programs, open_setup
from circuitgraph.cli.output import Output
from circuitgraph.drawing.page.entry import PageCircuit
from circuitgraph.errors import ArgumentError
from circuitgraph.jobs.setup import Setup

_PROMPTS = 12


def read_model(output: Output, path: Path, entry: PageCircuit) -> dict[str, Reading]:
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
    setup = Setup.from_record(record, path)
    setup = replace(setup, graph=circuit.graph, n_prompts=_PROMPTS, n_evaluation=_PROMPTS)
    keep_compiled_programs()
    bench = open_setup(output, setup)
    advice = "To look at it all the same, leave out --run-model."
    check_same_model(record.model, bench.model, advice)
    with output.show_spinner("reading its nodes and edges"):
        unseen = bench.task.count_pairs("evaluation") != 0
        experiment, prompts = bench.prepare("evaluation" if unseen else "discovery")
        readings = read_circuit_nodes(bench.model, prompts, circuit)
        edges = read_circuit_edges(experiment, prompts, circuit)
    return readings if edges is None else {**readings, "prompts": edges}
