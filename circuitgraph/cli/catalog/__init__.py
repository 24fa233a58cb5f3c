"""``circuitgraph catalog``: stored circuits, together."""

from __future__ import annotations

import typer

from circuitgraph.cli.catalog import compare

app = typer.Typer(no_args_is_help=True, help="Stored circuits.")
app.command("compare")(compare.compare_stored)
