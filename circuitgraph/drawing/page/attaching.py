"""Readings put where they belong: tables by the nodes and edges that they name, pictures likewise.

A reading is what any analysis gives; nothing here knows a method.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from circuitgraph.catalog.analysis_record import (
    HeatmapRecord,
    Reading,
    TableRecord,
    TextsRecord,
)
from circuitgraph.errors import UnknownNameError
from circuitgraph.graph.node import ARROW, canonical_edge, canonical_node

Homes = Mapping[str, dict[str, Any]]  # nodes and edges of the page, by name
_MOST_CELLS = 64 * 64  # of a grid; larger ones are for `analyze -o`


def attach_reading(
    title: str, reading: Reading, homes: Homes, general: list[dict[str, Any]]
) -> None:
    """Add a reading to the nodes and edges that it speaks of, and what is of none to ``general``.

    Args:
        title: of the analysis, before the titles of its tables and pictures.
    """
    for table in reading.tables:
        _attach_table(f"{title}: {table.title}", table, homes, general)
    for picture in reading.pictures:
        if isinstance(picture, HeatmapRecord):
            _attach_heatmap(f"{title}: {picture.title}", picture, homes, general)
        elif isinstance(picture, TextsRecord):
            _attach_texts(f"{title}: {picture.title}", picture, homes, general)


def name_types(reading: Reading) -> dict[str, str]:
    """The types that a reading names heads with, by the head's name.

    Its tables say in a last column ``named`` whether a head has a type: that of the column
    ``type``, or else the first word of the title.
    """
    types: dict[str, list[str]] = {}
    for table in reading.tables:
        if table.columns[-1] != "named":
            continue
        column = table.columns.index("type") if "type" in table.columns else None
        for row in table.rows:
            if row[-1] is True:
                kind = table.title.split(" ")[0] if column is None else str(row[column])
                types.setdefault(str(row[0]), []).append(kind)
    return {head: ", ".join(kinds) for head, kinds in types.items()}


def _canonicalise(cell: Any) -> str | None:
    """The name of the node or edge that a cell is, if it is one."""
    if not isinstance(cell, str) or not cell:
        return None
    try:
        return canonical_edge(cell) if ARROW in cell else canonical_node(cell)
    except UnknownNameError:
        return None


def _attach_table(
    title: str, table: TableRecord, homes: Homes, general: list[dict[str, Any]]
) -> None:
    names = _find_names(table)
    if names is None:
        if table.rows:
            general.append(_show_table(title, table.columns, table.rows))
        return
    rows: dict[str, list[Sequence[Any]]] = {}
    for row in table.rows:
        name = _canonicalise(row[names])
        if name is not None and name in homes:
            rows.setdefault(name, []).append([*row[:names], *row[names + 1 :]])
    columns = [*table.columns[:names], *table.columns[names + 1 :]]
    for name, own in rows.items():
        homes[name]["readings"].append(_show_table(title, columns, own))


def _find_names(table: TableRecord) -> int | None:
    """The first column in which every cell is the name of a node or of an edge."""
    for column in range(len(table.columns)):
        cells = [row[column] for row in table.rows]
        if cells and all(_canonicalise(cell) for cell in cells):
            return column
    return None


def _show_table(title: str, columns: Sequence[str], rows: Sequence[Any]) -> dict[str, Any]:
    shown = [
        [c.model_dump() if hasattr(c, "model_dump") else c for c in row]  # an interval
        for row in rows
    ]
    return {"kind": "table", "title": title, "columns": list(columns), "rows": shown}


def _attach_heatmap(
    title: str, picture: HeatmapRecord, homes: Homes, general: list[dict[str, Any]]
) -> None:
    named = [name for name in re.split(r"[^\w.<>-]+", picture.title) if name.rstrip(".") in homes]
    if named:
        homes[named[0].rstrip(".")]["readings"].append(_show_grid(title, picture))
    elif (picture.row_axis, picture.column_axis) == ("layer", "head"):
        for home in homes.values():
            if home.get("kind") == "head":
                value = _read_cell(picture, home["layer"], home["index_in_layer"])
                home["facts"].append((title, value))
    elif len(picture.row_labels) * len(picture.column_labels) <= _MOST_CELLS:
        general.append(_show_grid(title, picture))


def _read_cell(picture: HeatmapRecord, layer: int, head: int) -> float | None:
    try:
        row = picture.row_labels.index(str(layer))
        return picture.values[row][picture.column_labels.index(str(head))]
    except ValueError:
        return None


def _show_grid(title: str, picture: HeatmapRecord) -> dict[str, Any]:
    names = {"row_axis", "column_axis", "row_labels", "column_labels", "values", "unit"}
    return {"kind": "grid", "title": title, **picture.model_dump(include=names)}


def _attach_texts(
    title: str, picture: TextsRecord, homes: Homes, general: list[dict[str, Any]]
) -> None:
    texts = [text.model_dump() for text in picture.texts]
    shown = {"kind": "texts", "title": title, "texts": texts}
    home = homes.get(_canonicalise(picture.unit) or "")
    (general if home is None else home["readings"]).append(shown)
