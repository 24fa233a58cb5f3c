"""``circuitgraph view``: a circuit, two of them or a catalog as a page in the browser."""

from __future__ import annotations

import json
import os
import sys
import webbrowser
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from circuitgraph.cli.circuit_places import choose_output_folder, find_circuit
from circuitgraph.cli.options import JsonOption, QuietOption
from circuitgraph.cli.output import Output
from circuitgraph.errors import ArgumentError

if TYPE_CHECKING:
    from circuitgraph.catalog.analysis_record import Reading


def view(
    circuits: Annotated[
        list[Path] | None,
        typer.Argument(
            help="Folder of a circuit, its circuit.json, or an entry of the catalog; two to "
            "compare."
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            help="Page to write, .html. [default: circuit.html in the circuit's folder, or here if "
            "it is a catalog's; comparison.html or catalog.html here]",
        ),
    ] = None,
    opens: Annotated[
        bool, typer.Option("--open/--no-open", help="Whether to open the page in a browser.")
    ] = True,
    reading: Annotated[
        list[Path] | None,
        typer.Option(
            "--reading",
            help="What `analyze --json` printed: shown at the nodes and edges it names. "
            "Repeatable.",
        ),
    ] = None,
    scrub: Annotated[
        Path | None,
        typer.Option("--scrub", help="What `scrub --json` printed: roles, and the tree of claims."),
    ] = None,
    run_model: Annotated[
        bool,
        typer.Option(
            "--run-model",
            help="Run the circuit's model: types and patterns of heads, what nodes write, what "
            "prompts lose without an edge.",
        ),
    ] = False,
    catalog: Annotated[
        Path | None,
        typer.Option("--catalog", help="A table of all circuits below this folder, instead."),
    ] = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Look at a circuit in the browser: one HTML file, which needs no network and no server.

    Examples:

    - `circuitgraph view runs/induction`

    - `circuitgraph view runs/induction --run-model -o induction.html --no-open`

    - `circuitgraph view runs/ioi runs/ioi-kl`

    - `circuitgraph view ioi/ioi/acdc`

    - `circuitgraph view --catalog runs`
    """
    from circuitgraph.drawing.page.assembly import save_page

    output, paths = Output(as_json, quiet), circuits or []
    additions = {"--reading": bool(reading), "--scrub": scrub is not None, "--run-model": run_model}
    _check_arguments(paths, catalog, [name for name, given in additions.items() if given])
    target = out or _choose_target(paths, catalog)
    if target.suffix.lower() != ".html":
        raise ArgumentError(f"A page is an .html file, not {str(target)!r}: give -o FILE.html.")
    if catalog is not None:
        from circuitgraph.drawing.page.catalog_page import make_catalog_page

        page = make_catalog_page(catalog, target)
    else:
        places = [find_circuit(path) for path in paths]
        page = _make_page(output, places, reading or [], scrub, run_model)
    save_page(target, page)
    output.print_result(json.dumps({"page": str(target)}), str(target))
    if opens and not as_json and not _open_browser(target):
        output.print_message("No browser could be opened here: open the file yourself.")


def _open_browser(page: Path) -> bool:
    """Open a page, unless there is no screen: a browser of a terminal would show nothing of it."""
    screens = ("DISPLAY", "WAYLAND_DISPLAY")
    if sys.platform.startswith("linux") and not any(os.environ.get(name) for name in screens):
        return False
    return webbrowser.open(page.resolve().as_uri())


def _check_arguments(paths: list[Path], catalog: Path | None, additions: list[str]) -> None:
    """Refuse what does not go together."""
    given = ", ".join(repr(str(path)) for path in paths) or "none"
    if catalog is not None:
        if paths or additions:
            raise ArgumentError(
                f"--catalog shows all circuits below {str(catalog)!r} and nothing else: leave out "
                f"{', '.join([given] * bool(paths) + additions)}."
            )
    elif len(paths) not in (1, 2):
        raise ArgumentError(
            f"{len(paths)} circuits were given ({given}): give one, two to compare, or --catalog "
            "FOLDER."
        )
    elif len(paths) == 2 and "--run-model" in additions:
        raise ArgumentError("--run-model looks at one circuit: leave it out to compare two.")


def _choose_target(paths: list[Path], catalog: Path | None) -> Path:
    if catalog is not None:
        return Path("catalog.html")
    if len(paths) == 2:
        return Path("comparison.html")
    return choose_output_folder(paths[0]) / "circuit.html"


def _make_page(
    output: Output, paths: list[Path], readings: list[Path], scrub: Path | None, run_model: bool
) -> bytes:
    from circuitgraph.drawing.page.circuit_page import make_circuit_page
    from circuitgraph.drawing.page.entry import load_entry
    from circuitgraph.drawing.page.evidence import load_analysis, load_scrub

    entries = [load_entry(path) for path in paths]
    analyses = [load_analysis(file) for file in readings]
    scrub_record = None if scrub is None else load_scrub(scrub)
    own: dict[str, Reading] = {}
    if run_model:
        from circuitgraph.cli.view_readings import read_model

        own = read_model(output, paths[0], entries[0])
    return make_circuit_page(entries, analyses=analyses, readings=own, scrub=scrub_record)
