"""``circuitgraph catalog list``: what was found, one line for each circuit."""

from __future__ import annotations

from circuitgraph.cli.catalog.catalog_options import CatalogsOption, print_listing
from circuitgraph.cli.options import JsonOption, QuietOption
from circuitgraph.cli.output import Output


def list_entries(
    catalog: CatalogsOption = None, as_json: JsonOption = False, quiet: QuietOption = False
) -> None:
    """List circuits: edges, edges of the whole graph, faithfulness on unseen prompts (95 %
    interval), and that of random circuits of equal size.

    A damaged entry is named on stderr and hides no other.

    Examples:

    - `circuitgraph catalog list`

    - `circuitgraph catalog list --catalog my-circuits --catalog shipped`
    """
    from circuitgraph.catalog.catalogs import list_all, open_catalogs

    listing = list_all(open_catalogs(catalog or ()))
    print_listing(Output(as_json, quiet), listing, "There is no entry.")
