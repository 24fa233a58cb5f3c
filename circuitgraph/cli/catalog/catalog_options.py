"""Options and lines that several of the catalog's commands share."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Annotated, Any

import typer

from circuitgraph.catalog.store import Listing
from circuitgraph.catalog.summaries import Summary
from circuitgraph.cli.output import Output
from circuitgraph.printable import NAME, make_lines_printable, make_printable

CatalogsOption = Annotated[
    list[str] | None,
    typer.Option(
        "--catalog",
        metavar="PLACE",
        help="Folder or URL (hf://, s3://, ...) of circuits; repeatable. [default: those in "
        "CIRCUITGRAPH_CATALOG, else the shipped ones]",
    ),
]
WritableOption = Annotated[
    str | None,
    typer.Option(
        "--catalog",
        metavar="FOLDER",
        help="Folder of circuits, made if needed. [default: the first in CIRCUITGRAPH_CATALOG]",
    ),
]
EntryArgument = Annotated[
    str, typer.Argument(metavar="ENTRY", help="MODEL/TASK/SLUG, as `catalog list` shows it.")
]


def print_listing(output: Output, listing: Listing, none: str) -> None:
    """Print a line for each entry, and say what was left out.

    Args:
        none: what to say where there is no entry.
    """
    content = {
        "entries": [entry.to_content() for entry in listing],
        "problems": listing.problems,
    }
    if output.as_json:
        output.print_result(json.dumps(content, indent=2, ensure_ascii=False))
    elif not output.quiet:
        # Rich takes a second for a table of a thousand rows.
        typer.echo(make_lines_printable("\n".join(format_lines(listing)) if listing else none))
    print_problems(output, listing.problems)


def print_problems(output: Output, problems: dict[str, str]) -> None:
    """Say on stderr which entries cannot be read."""
    for name, reason in problems.items():
        text = reason if name in reason else f"Entry {name!r}: {reason}"
        output.print_message(f"Skipped: {make_printable(text.splitlines()[0])}")


def format_lines(listing: Iterable[Summary]) -> list[str]:
    """Aligned columns: name, edges, faithfulness beside that of random circuits."""
    header = ("entry", "edges", "of", "faithfulness", "random")
    rows = [header, *(_list_cells(entry) for entry in listing)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            [
                row[0].ljust(widths[0]),
                *map(str.rjust, row[1:3], widths[1:3]),
                row[3].ljust(widths[3]),
                row[4],
            ]
        ).rstrip()
        for row in rows
    ]


def _list_cells(entry: Summary) -> tuple[str, ...]:
    random = "" if entry.random is None else _format_number(entry.random[0])
    return (
        make_printable(entry.entry, NAME),
        str(entry.n_edges),
        str(entry.n_graph),
        _format_numbers(entry.faithfulness),
        random,
    )


def _format_numbers(numbers: tuple[float, float, float] | None) -> str:
    if numbers is None:
        return "not judged"
    mean, low, high = map(_format_number, numbers)
    return f"{mean} [{low}, {high}]"


def _format_number(number: float) -> str:
    return f"{round(number, 2) + 0.0:.2f}"  # "0.00", not "-0.00"


def dump_json(content: Any) -> str:
    """JSON for stdout."""
    return json.dumps(content, indent=2, ensure_ascii=False)
