"""The page of a folder of circuits: a table of all that are below it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any
from urllib.parse import quote

from circuitgraph.catalog.files import load_record
from circuitgraph.catalog.folders import CIRCUIT_FILE
from circuitgraph.catalog.records import CircuitRecord
from circuitgraph.drawing.page.assembly import assemble_page
from circuitgraph.drawing.page.facts import describe_search, show_interval
from circuitgraph.errors import DataError

_STYLES = ("page.css", "catalog.css")
PAGE_FILE = "circuit.html"  # of a circuit, beside it


def make_catalog_page(folder: str | Path, target: str | Path) -> bytes:
    """The page, as `make_circuit_page` gives one.

    Args:
        target: where the page will be, from which pages of circuits are linked.

    Raises:
        DataError: there is no such folder, or no circuit below it.
    """
    folder = Path(folder)
    if not os.path.isdir(folder):  # False for a name that no folder can have
        raise DataError(f"There is no folder {str(folder)!r}: give one with circuits below it.")
    entries, notes = [], []
    for file in sorted(folder.rglob(CIRCUIT_FILE)):
        try:
            record = load_record(file)
        except DataError as error:
            notes.append(str(error).splitlines()[0])
            continue
        entries.append(_describe_entry(record, file.parent, folder, Path(target).parent))
    if not entries:
        raise DataError(
            f"No circuit is below {str(folder)!r}: expected folders with a {CIRCUIT_FILE}."
        )
    title = f"Circuits in {folder}"
    texts = {"title": title, "subtitle": f"{len(entries):,} circuits"}
    data = {"entries": entries, "notes": notes}
    return assemble_page("catalog.html", texts=texts, data=data, styles=_STYLES, main="catalog")


def _describe_entry(
    record: CircuitRecord, place: Path, folder: Path, start: Path
) -> dict[str, Any]:
    """One row: what can be compared at a glance, and facts for a closer look."""
    model, task, algorithm = record.model, record.task, record.algorithm
    evaluation = record.evaluation
    page = place / PAGE_FILE
    link = quote(os.path.relpath(page, start).replace(os.sep, "/"))
    return {
        "path": place.relative_to(folder).as_posix(),
        "place": str(place),
        "link": f"./{link}" if page.is_file() else None,
        "model": model and model.name,
        "task": task and task.name,
        "algorithm": algorithm and algorithm.name,
        "metric": record.metric,
        "edges": len(record.edges),
        "share": len(record.edges) / record.graph.n_edges if record.graph.n_edges else None,
        "faithfulness": evaluation and show_interval(evaluation.faithfulness),
        "random": evaluation and show_interval(evaluation.random_faithfulness),
        "facts": [*describe_search(record), ("parameters", model and model.n_parameters)],
    }
