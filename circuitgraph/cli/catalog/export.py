"""``circuitgraph catalog export``: a stored circuit in the format of another tool."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

import circuitgraph as cg
from circuitgraph.cli.options import JsonOption, QuietOption
from circuitgraph.cli.output import Output
from circuitgraph.errors import ArgumentError


def export_file(
    circuit: Annotated[Path, typer.Argument(help="Folder of a circuit, or its circuit.json.")],
    out: Annotated[
        Path,
        typer.Option("--out", "-o", help="File to write; for mib-submission a new folder."),
    ],
    format: Annotated[
        str | None,
        typer.Option(
            "--format",
            help="mib-json, mib-pt, mib-submission, node-link, graphml, dot, edge-list or "
            "neuronpedia. [default: by the file's ending, where that says it]",
        ),
    ] = None,
    d_model: Annotated[
        int | None,
        typer.Option(
            "--d-model",
            help="Width of the model's stream, which MIB's formats ask for. [default: the "
            "circuit's model is loaded to see]",
        ),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the file that is there.")
    ] = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Write a circuit for another tool; what its format cannot hold is said on stderr.

    Examples:

    - `circuitgraph catalog export runs/ioi -o ioi.json --format mib-json`

    - `circuitgraph catalog export runs/ioi -o submission/ioi_gpt2 --format mib-submission`

    - `circuitgraph catalog export runs/ioi -o ioi.graphml`
    """
    from circuitgraph.exporting import choose_format, encoders

    output = Output(as_json, quiet)
    stored_circuit = cg.load_circuit(circuit)
    chosen = choose_format(encoders, format, out)
    options: dict[str, Any] = {}
    if d_model is not None:
        options["d_model"] = d_model
    elif "d_model" in chosen.options:
        options["d_model"] = _read_width(output, circuit)
    notes = cg.export_circuit(stored_circuit, out, chosen.name, overwrite=overwrite, **options)
    for note in notes:
        output.print_message(f"Note: {note}")
    record = {"path": str(out), "format": chosen.name, "notes": notes}
    output.print_result(json.dumps(record, indent=2), str(out))


def _read_width(output: Output, circuit: Path) -> int:
    """The width of a stored circuit's model, which is loaded."""
    from circuitgraph.catalog.files import load_record
    from circuitgraph.cli.inputs import load_alone
    from circuitgraph.cli.options import LoadingOptions, gather_loading
    from circuitgraph.models.loading import find_model

    record = load_record(circuit).model
    if record is None:
        raise ArgumentError("This circuit names no model: give the width with --d-model.")
    facts = {"model": record.model_dump(mode="json")}
    keywords = gather_loading(LoadingOptions(), facts, is_own=True, path=circuit)
    return load_alone(output, find_model(record.name, circuit), keywords).spec.d_model
