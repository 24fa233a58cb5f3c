"""``circuitgraph catalog add``: file a circuit with the evidence for it."""

from __future__ import annotations

import os
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer

from circuitgraph.cli.catalog.catalog_options import WritableOption, dump_json
from circuitgraph.cli.options import JsonOption, QuietOption
from circuitgraph.cli.output import Output


def add_entry(
    run: Annotated[
        str,
        typer.Argument(
            metavar="RUN",
            help="Folder of a run (circuit.json in it); or, to add evidence only, an ENTRY.",
        ),
    ],
    catalog: WritableOption = None,
    name: Annotated[
        str | None,
        typer.Option(
            "--name",
            metavar="MODEL/TASK/SLUG",
            help="Name of the entry. [default: the circuit's model, task and algorithm]",
        ),
    ] = None,
    evidence: Annotated[
        list[Path] | None,
        typer.Option(
            "--evidence",
            metavar="FILE",
            help="What evaluate, scrub, test, interchange, analyze or steer printed with --json; "
            "repeatable.",
        ),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the entry of that --name.")
    ] = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """File a circuit in a catalog: its record, scores, judgement, evidence, a picture and a card.

    All of the entry appears, or nothing. Several processes can add at once.

    Examples:

    - `circuitgraph catalog add runs/induction --catalog my-circuits --evidence judgement.json`

    - `circuitgraph catalog add induction-2l/induction/acdc --catalog my-circuits --evidence
    scrub.json`
    """
    from circuitgraph.catalog.catalogs import choose_writable
    from circuitgraph.errors import ArgumentError

    opened, given = choose_writable(catalog), evidence or []
    if overwrite and name is None:
        raise ArgumentError("--overwrite replaces the entry of a --name: give that too.")
    if os.path.exists(run):
        with TemporaryDirectory() as folder:
            pictures = _draw_pictures(Path(run), Path(folder))
            entry = opened.add(
                run, name=name, evidence=given, pictures=pictures, overwrite=overwrite
            )
    elif given and name is None:
        entry = opened.add_evidence(run, given)
    else:
        raise ArgumentError(
            f"There is no run at {run!r}: name its folder; or an entry, with --evidence and "
            "without --name, to add evidence to it."
        )
    content = {"entry": str(entry), "catalog": opened.place}
    output = Output(as_json, quiet)
    output.print_result(dump_json(content), f"{entry} in {opened.place}")


def _draw_pictures(run: Path, folder: Path) -> list[Path]:
    """A drawing, where the run has none: as SVG if Graphviz is installed, and as DOT."""
    from circuitgraph.catalog.files import load_circuit
    from circuitgraph.catalog.folders import PICTURES
    from circuitgraph.drawing.dot import render

    beside = run if run.is_dir() else run.parent
    if any((beside / name).is_file() for name in PICTURES):
        return []
    circuit = load_circuit(run)
    return list({render(circuit, folder / f"circuit.{ending}") for ending in ("dot", "svg")})
