"""``circuitgraph catalog export``: a stored circuit in the format of another tool."""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

import circuitgraph as cg
from circuitgraph.cli.circuit_places import find_circuit
from circuitgraph.cli.options import (
    AbsoluteOption,
    CircuitArgument,
    JsonOption,
    LoadingOptions,
    QuietOption,
    SelectionOption,
    gather_loading,
)
from circuitgraph.cli.output import Output
from circuitgraph.errors import ArgumentError

if TYPE_CHECKING:
    from circuitgraph.catalog.records import CircuitRecord
    from circuitgraph.models.language_model import LanguageModel


def export_file(
    circuit: CircuitArgument,
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
    absolute: AbsoluteOption = None,
    selection: SelectionOption = None,
    prompt: Annotated[
        int | None,
        typer.Option(
            "--prompt",
            help="For neuronpedia: which prompt of the search to show, from 0. [default: 0]",
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

    - `circuitgraph catalog export ioi/ioi/acdc -o ioi.graphml`
    """
    from circuitgraph.jobs.export import choose_format, encoders

    output = Output(as_json, quiet)
    chosen = choose_format(encoders, format, out)
    given = {"d_model": d_model, "absolute": absolute, "selection": selection}
    options = {name: value for name, value in given.items() if value is not None}
    chosen.check_options(options)
    if prompt is not None and "token_ids" not in chosen.options:
        raise ArgumentError(f"--prompt is for neuronpedia, not for {chosen.name}: leave it out.")
    place = find_circuit(circuit)
    stored_circuit = cg.load_circuit(place)
    options |= _complete_options(output, place, chosen.options, options, prompt or 0)
    notes = cg.export_circuit(stored_circuit, out, chosen.name, overwrite=overwrite, **options)
    for note in notes:
        output.print_message(f"Note: {note}")
    record = {"path": str(out), "format": chosen.name, "notes": notes}
    output.print_result(json.dumps(record, indent=2), str(out))


def _complete_options(
    output: Output, circuit: Path, names: Collection[str], given: Collection[str], prompt: int
) -> dict[str, Any]:
    """What a format asks for and only the circuit's model can say: it is loaded where need be."""
    needs_width = "d_model" in names and "d_model" not in given
    if not needs_width and "token_ids" not in names:
        return {}
    from circuitgraph.catalog.files import load_record

    record = load_record(circuit)
    if record.model is None:
        remedy = " with --d-model" if needs_width else " another format"
        raise ArgumentError(f"This circuit names no model to ask: give{remedy}.")
    model = _load_model(output, circuit, record)
    if needs_width:
        return {"d_model": model.spec.d_model}
    from circuitgraph.cli.catalog.one_prompt import read_prompt

    return read_prompt(record, model, circuit, prompt)


def _load_model(output: Output, circuit: Path, record: CircuitRecord) -> LanguageModel:
    from circuitgraph.cli.inputs import check_same_model, load_alone
    from circuitgraph.models.loading import find_model

    assert record.model is not None  # noqa: S101 - asked by the caller
    facts = record.model_dump(mode="json", include={"model", "environment"})
    keywords = gather_loading(LoadingOptions(), facts, is_own=True, path=circuit)
    model = load_alone(output, find_model(record.model.name, circuit), keywords)
    check_same_model(record.model, model, "Give --d-model to do without it.")
    return model
