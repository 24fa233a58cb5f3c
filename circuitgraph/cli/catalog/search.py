"""``circuitgraph catalog search``: circuits by model, task, node, edge, size and score."""

from __future__ import annotations

from typing import Annotated

import typer

from circuitgraph.cli.catalog.catalog_options import CatalogsOption, print_listing
from circuitgraph.cli.options import JsonOption, QuietOption
from circuitgraph.cli.output import Output


def search_entries(
    model: Annotated[
        str | None, typer.Option("--model", help="Name or pattern, such as 'gpt2*'.")
    ] = None,
    task: Annotated[
        str | None, typer.Option("--task", help="Name or pattern, such as 'greater*'.")
    ] = None,
    node: Annotated[
        list[str] | None, typer.Option("--node", help="A node in it: a1.h0, m3; repeatable.")
    ] = None,
    edge: Annotated[
        list[str] | None, typer.Option("--edge", help="An edge in it: 'm0->logits'; repeatable.")
    ] = None,
    size: Annotated[
        str | None, typer.Option("--size", help="Number of edges: 10:50, :50, 10: or 10.")
    ] = None,
    score: Annotated[
        str | None, typer.Option("--score", help="Faithfulness on unseen prompts: 0.9:1.1, 0.9:.")
    ] = None,
    catalog: CatalogsOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """List the circuits for which all conditions hold.

    Examples:

    - `circuitgraph catalog search --task induction --node a1.h0`

    - `circuitgraph catalog search --model 'smollm2*' --size :100 --score 0.5:`
    """
    from circuitgraph.catalog.catalogs import list_all, open_catalogs
    from circuitgraph.catalog.searching import Query, parse_range

    query = Query(
        model=model,
        task=task,
        nodes=tuple(node or ()),
        edges=tuple(edge or ()),
        size=parse_range("--size", size) if size else (None, None),
        score=parse_range("--score", score) if score else (None, None),
    )
    listing = list_all(open_catalogs(catalog or ())).select(query)
    print_listing(Output(as_json, quiet), listing, "No entry is like that.")
