"""``circuitgraph render``: draw a stored circuit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

import circuitgraph as cg
from circuitgraph.catalog.files import load_record
from circuitgraph.cli.options import JsonOption, LoadingOptions, QuietOption, gather_loading
from circuitgraph.cli.output import Output
from circuitgraph.errors import ArgumentError
from circuitgraph.graph.circuit import Circuit


def render(
    circuit: Annotated[Path, typer.Argument(help="Folder of a circuit, or its circuit.json.")],
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", help="Picture: .svg, .pdf, .png or .dot. [default: circuit.svg]"
        ),
    ] = None,
    prune: Annotated[
        bool, typer.Option("--prune", help="Draw only what lies on a path to the logits.")
    ] = False,
    head_types: Annotated[
        bool,
        typer.Option(
            "--head-types",
            help="Run the circuit's model, and name induction heads and others in the drawing.",
        ),
    ] = False,
    certainty: Annotated[
        bool,
        typer.Option(
            "--certainty", help="Fade edges by how often searches keep them (after `stability`)."
        ),
    ] = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Draw a circuit that `discover` wrote.

    Exits 1 where Graphviz is not installed, so that there is DOT text and no picture.

    Examples:

    - `circuitgraph render runs/induction -o induction.pdf`

    - `circuitgraph render runs/induction --head-types`

    - `circuitgraph render runs/induction --certainty -o certainty.svg`
    """
    from circuitgraph.catalog.certainty_record import load_certainty
    from circuitgraph.drawing.graphviz_output import INSTALL_HINT, check_format

    loaded_circuit, output = cg.load_circuit(circuit), Output(as_json, quiet)
    folder = circuit if circuit.is_dir() else circuit.parent
    target = out or folder / "circuit.svg"
    check_format(target)
    record = load_certainty(folder) if certainty else None
    captions = _name_heads(output, circuit, loaded_circuit) if head_types else {}
    drawn = loaded_circuit.pruned() if prune else loaded_circuit
    picture = cg.render(drawn, target, captions=captions, certainty=record)
    if picture != target:
        output.print_message(INSTALL_HINT.replace("{where}", str(circuit)))
    output.print_result(json.dumps({"picture": str(picture)}), str(picture))
    if picture != target:
        raise typer.Exit(1)


def _name_heads(output: Output, path: Path, circuit: Circuit) -> dict[str, str]:
    """The types of the heads of the model that a stored circuit was found in."""
    from circuitgraph.analysis.head_types import measure_types
    from circuitgraph.cli.inputs import check_same_model, keep_compiled_programs, load_alone
    from circuitgraph.models.loading import find_model

    record = load_record(path).model
    if record is None:
        raise ArgumentError(
            "This circuit names no model, whose heads could be named: leave out --head-types."
        )
    keywords = gather_loading(LoadingOptions(), circuit.provenance, is_own=True, path=path)
    keep_compiled_programs()
    model = load_alone(output, find_model(record.name, path), keywords)
    check_same_model(record, model, "To draw it all the same, leave out --head-types.")
    return measure_types(model).name_heads()
