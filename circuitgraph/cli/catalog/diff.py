"""``circuitgraph catalog diff``: two circuits, edge by edge."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from circuitgraph.cli.catalog.catalog_options import CatalogsOption, dump_json
from circuitgraph.cli.circuit_places import find_circuit
from circuitgraph.cli.options import JsonOption, QuietOption
from circuitgraph.cli.output import Output

if TYPE_CHECKING:
    from circuitgraph.catalog.comparing import CircuitComparison

_SHOWN = 20  # edges of each kind


def compare_entries(
    a: Annotated[str, typer.Argument(metavar="A", help="Entry, or the folder of a run.")],
    b: Annotated[str, typer.Argument(metavar="B", help="Another one.")],
    catalog: CatalogsOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Say which edges and nodes two circuits share, which B lacks (-) or has beside (+), and
    whether the effects of shared edges agree.

    Exits 1 if their edges differ.

    Example: `circuitgraph catalog diff ioi/ioi/acdc ioi-natural/ioi/acdc`
    """
    import circuitgraph as cg
    from circuitgraph.catalog.comparing import diff_circuits

    circuits = (cg.load_circuit(_find_named(Path(name), catalog)) for name in (a, b))
    comparison = diff_circuits(*circuits)
    parts = [] if as_json else _make_parts(a, b, comparison)
    Output(as_json, quiet).print_result(dump_json(comparison.to_content()), *parts)
    if not comparison.is_same:
        raise typer.Exit(1)


def _find_named(path: Path, catalog: list[str] | None) -> Path:
    """The folder of a run here, or of an entry."""
    from circuitgraph.catalog.folders import CIRCUIT_FILE

    is_run = os.path.isfile(path / CIRCUIT_FILE)
    return path if is_run else find_circuit(path, catalog)


def _make_parts(a: str, b: str, comparison: CircuitComparison) -> list[Any]:
    from circuitgraph.cli.tables import make_table

    table = make_table("", "", "shared", "- only A", "+ only B", "overlap")
    for what, *edges, overlap in (
        ("edges", comparison.shared, comparison.removed, comparison.added, comparison.edge_overlap),
        (
            "nodes",
            comparison.shared_nodes,
            comparison.removed_nodes,
            comparison.added_nodes,
            comparison.node_overlap,
        ),
    ):
        table.add_row(what, *(str(len(each)) for each in edges), f"{overlap:.2f}")
    parts: list[Any] = [f"A: {a}", f"B: {b}", "", table]
    if not comparison.same_graph:
        parts.append("\nTheir graphs differ: edges are compared by their names.")
    for sign, edges in (("-", comparison.removed), ("+", comparison.added)):
        parts += [""] * bool(edges) + [f"{sign} {edge}" for edge in edges[:_SHOWN]]
        if len(edges) > _SHOWN:
            parts.append(f"{sign} ... and {len(edges) - _SHOWN} more")
    return parts + _make_effects(comparison)


def _make_effects(comparison: CircuitComparison) -> list[Any]:
    """The shared edges whose effects differ most."""
    from circuitgraph.cli.tables import make_table

    if not comparison.effects:
        return []
    table = make_table("Effects of shared edges", "edge", "A", "B")
    for edge, effects in list(comparison.effects.items())[:_SHOWN]:
        table.add_row(edge, *("-" if each is None else f"{each:.4f}" for each in effects))
    if comparison.correlation is None:
        return ["", table]
    return [
        "",
        table,
        f"Correlation of all {len(comparison.effects)}: {comparison.correlation:.3f}",
    ]
