"""``circuitgraph render``: draw a stored circuit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

import circuitgraph as cg
from circuitgraph.cli.options import JsonOption, QuietOption
from circuitgraph.cli.output import Output


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
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Draw a circuit that `discover` wrote.

    Exits 1 where Graphviz is not installed, so that there is DOT text and no picture.

    Example: `circuitgraph render runs/induction -o induction.pdf`
    """
    from circuitgraph.drawing.graphviz_output import INSTALL_HINT

    loaded_circuit = cg.load_circuit(circuit)
    folder = circuit if circuit.is_dir() else circuit.parent
    target = out or folder / "circuit.svg"
    picture = cg.render(loaded_circuit.pruned() if prune else loaded_circuit, target)
    output = Output(as_json, quiet)
    if picture != target:
        output.print_message(INSTALL_HINT.replace("{where}", str(circuit)))
    output.print_result(json.dumps({"picture": str(picture)}), str(picture))
    if picture != target:
        raise typer.Exit(1)
