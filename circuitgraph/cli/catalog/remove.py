"""``circuitgraph catalog remove``: take an entry out of a catalog."""

from __future__ import annotations

from circuitgraph.cli.catalog.catalog_options import EntryArgument, WritableOption, dump_json
from circuitgraph.cli.options import JsonOption, QuietOption
from circuitgraph.cli.output import Output


def remove_entry(
    entry: EntryArgument,
    catalog: WritableOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Remove a circuit and all that is filed with it. A folder that holds anything else is left.

    Example: `circuitgraph catalog remove induction-2l/induction/acdc --catalog my-circuits`
    """
    from circuitgraph.catalog.catalogs import choose_writable

    opened = choose_writable(catalog)
    opened.remove(entry)
    content = {"removed": entry, "catalog": opened.place}
    Output(as_json, quiet).print_result(dump_json(content), f"Removed {entry} from {opened.place}")
