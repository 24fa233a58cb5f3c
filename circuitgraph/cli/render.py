"""``circuitgraph render``: draw a stored circuit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

import circuitgraph as cg
from circuitgraph.cli.circuit_places import choose_output_folder, find_circuit
from circuitgraph.cli.options import (
    CircuitArgument,
    JsonOption,
    LoadingOptions,
    QuietOption,
    gather_loading,
)
from circuitgraph.cli.output import Output
from circuitgraph.drawing.views import MOST_ARROWS, VIEWS
from circuitgraph.errors import ArgumentError, check_choice

if TYPE_CHECKING:
    from circuitgraph.graph.circuit import Circuit


def render(
    circuit: CircuitArgument,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            help="Picture: .svg, .pdf, .png, .dot or .html. [default: circuit.svg in its folder, "
            "or here if it is a catalog's]",
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
    roles: Annotated[
        Path | None,
        typer.Option(
            "--roles",
            metavar="HYPOTHESIS",
            help="Name nodes by what this hypothesis file claims of them, and where in the prompt.",
        ),
    ] = None,
    view: Annotated[
        str,
        typer.Option(
            "--view",
            help="nodes and arrows; layers, whose heads share a box; or a matrix of all heads, "
            "coloured by effect.",
        ),
    ] = VIEWS[0],
    hide_below: Annotated[
        float,
        typer.Option("--hide-below", help="Hide arrows below this share of the strongest."),
    ] = 0.0,
    most_arrows: Annotated[
        int, typer.Option("--most-arrows", help="Draw only the strongest of so many.")
    ] = MOST_ARROWS,
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

    - `circuitgraph render runs/induction --roles hypotheses/induction.py`

    - `circuitgraph render runs/large --view layers --hide-below 0.02`

    - `circuitgraph render runs/large --view matrix -o heads.svg`

    - `circuitgraph render runs/induction -o circuit.html`

    - `circuitgraph render ioi/ioi/acdc`

    - `circuitgraph render runs/induction --certainty -o certainty.svg`
    """
    from circuitgraph.catalog.certainty_record import load_certainty
    from circuitgraph.drawing.graphviz_output import INSTALL_HINT, check_format

    target = out or choose_output_folder(circuit) / "circuit.svg"
    circuit = find_circuit(circuit)
    loaded_circuit, output = cg.load_circuit(circuit), Output(as_json, quiet)
    folder = circuit if circuit.is_dir() else circuit.parent
    if target.suffix.lower() != ".html":
        check_format(target)
    if check_choice("--view", view, VIEWS) == "matrix" and (
        hide_below or most_arrows != MOST_ARROWS
    ):
        raise ArgumentError(
            "A matrix has no arrows: leave out --hide-below and --most-arrows, or --view matrix."
        )
    record = load_certainty(folder) if certainty else None
    captions = _name_roles(roles) if roles else {}
    if head_types:
        for node, types in _name_heads(output, circuit, loaded_circuit).items():
            captions[node] = "\n".join(filter(None, [captions.get(node), types]))
    drawn = loaded_circuit.pruned() if prune else loaded_circuit
    if absent := sorted(set(captions) - set(drawn.nodes)) if roles else []:
        output.print_message(f"Named, but not in the circuit: {', '.join(absent)}")
    picture = cg.render(
        drawn,
        target,
        captions=captions,
        certainty=record,
        view=view,
        hide_below=hide_below,
        most_arrows=most_arrows,
    )
    if picture != target:
        output.print_message(INSTALL_HINT.replace("{where}", str(circuit)))
    output.print_result(json.dumps({"picture": str(picture)}), str(picture))
    if picture != target:
        raise typer.Exit(1)


def _name_roles(path: Path) -> dict[str, str]:
    """What the hypotheses of a file claim of nodes: the role, or the variable, and where it is."""
    claims: dict[str, list[str]] = {}
    for hypothesis in cg.load_hypotheses(path):
        for variable in hypothesis.variables:
            for site in variable.sites:
                where = f" @ {', '.join(site.roles)}" if site.roles else ""
                claims.setdefault(str(site.node), []).append(
                    f"{variable.role or variable.name}{where}"
                )
    return {node: "\n".join(dict.fromkeys(texts)) for node, texts in claims.items()}


def _name_heads(output: Output, path: Path, circuit: Circuit) -> dict[str, str]:
    """The types of the heads of the model that a stored circuit was found in."""
    from circuitgraph.analysis.head_types import measure_types
    from circuitgraph.catalog.files import load_record
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
