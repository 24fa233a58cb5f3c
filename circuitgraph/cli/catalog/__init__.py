"""``circuitgraph catalog``: circuits kept, compared, and exchanged with other tools."""

from __future__ import annotations

import typer

from circuitgraph.cli.catalog import export, import_

app = typer.Typer(no_args_is_help=True, help="Circuits kept, and exchanged with other tools.")
app.command("export")(export.export_file)
app.command("import")(import_.import_file)
