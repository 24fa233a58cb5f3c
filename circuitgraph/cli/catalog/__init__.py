"""``circuitgraph catalog``: circuits listed, compared, checked again and exchanged.

One file for each command; what is slow to import is imported in the commands.
"""

from __future__ import annotations

import typer

from circuitgraph.cli.catalog import (
    add,
    compare,
    diff,
    export,
    import_,
    list_entries,
    remove,
    search,
    show,
    verify,
)

app = typer.Typer(no_args_is_help=True, help="Circuits that were found: list, compare, verify.")
app.command("list")(list_entries.list_entries)
app.command("search")(search.search_entries)
app.command("show")(show.show_entry)
app.command("diff")(diff.compare_entries)
app.command("add")(add.add_entry)
app.command("verify")(verify.verify_entries)
app.command("remove")(remove.remove_entry)
app.command("export")(export.export_file)
app.command("import")(import_.import_file)
app.command("compare")(compare.compare_stored)
