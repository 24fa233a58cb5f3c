"""The record of an analysis: what every method of ``circuitgraph analyze`` gives, as data.

A method gives tables to read and pictures to look at. How they are shown, as text, JSON or a drawn
file, is the same for all methods and is not the method's business.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BeforeValidator, Field, model_validator

from circuitgraph.catalog.records import (
    SCHEMA_VERSION,
    Environment,
    Interval,
    ModelRecord,
    Record,
    TaskRecord,
)
from circuitgraph.errors import unknown_name

Cell = Interval | bool | int | float | str | None
"""A mean over prompts is an `Interval`; None is a number that does not exist."""


def _to_plain(value: Any) -> Any:
    """Arrays as lists, and None for numbers that are not finite."""
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, list | tuple):
        return [_to_plain(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


Numbers = Annotated[Sequence[float | None], BeforeValidator(_to_plain)]


class TableRecord(Record):
    """A table; the title says what its numbers are, and of what."""

    title: str
    columns: Sequence[str]
    rows: Annotated[Sequence[Sequence[Cell]], BeforeValidator(_to_plain)]

    @model_validator(mode="after")
    def _check_rows(self) -> TableRecord:
        if wrong := [row for row in self.rows if len(row) != len(self.columns)]:
            raise ValueError(f"a row has {len(wrong[0])} cells for {len(self.columns)} columns")
        return self


class HeatmapRecord(Record):
    """A matrix of numbers, [rows, columns]; what an axis is stands in its name.

    ``unit``: what the numbers are. Colours are centred on zero where numbers have both signs.
    """

    kind: Literal["heatmap"] = "heatmap"
    title: str
    unit: str
    row_axis: str
    column_axis: str
    row_labels: Sequence[str]
    column_labels: Sequence[str]
    values: Annotated[Sequence[Sequence[float | None]], BeforeValidator(_to_plain)]

    @model_validator(mode="after")
    def _check_labels(self) -> HeatmapRecord:
        shape = (len(self.row_labels), len(self.column_labels))
        if len(self.values) != shape[0] or {len(row) for row in self.values} != {shape[1]}:
            raise ValueError(f"there are labels for {shape[0]} rows of {shape[1]} numbers")
        return self


class SeriesRecord(Record):
    """One curve of `CurvesRecord`; ``low`` and ``high`` bound its band, where it has one."""

    name: str
    y: Numbers
    low: Numbers | None = None
    high: Numbers | None = None


class CurvesRecord(Record):
    """Curves over one axis; each has a number for each place in ``x``."""

    kind: Literal["curves"] = "curves"
    title: str
    x_axis: str
    y_axis: str
    x: Numbers
    series: Sequence[SeriesRecord]

    @model_validator(mode="after")
    def _check_lengths(self) -> CurvesRecord:
        for one in self.series:
            for numbers in (one.y, one.low, one.high):
                if numbers is not None and len(numbers) != len(self.x):
                    raise ValueError(f"{one.name}: {len(numbers)} numbers over {len(self.x)} of x")
        return self


class TextRecord(Record):
    """A text as its tokens, with a number for each."""

    tokens: Sequence[str]
    values: Numbers

    @model_validator(mode="after")
    def _check_tokens(self) -> TextRecord:
        if len(self.tokens) != len(self.values):
            raise ValueError(f"{len(self.values)} numbers for {len(self.tokens)} tokens")
        return self


class TextsRecord(Record):
    """Texts whose tokens are coloured by their numbers; ``unit``: what the numbers are."""

    kind: Literal["texts"] = "texts"
    title: str
    unit: str
    texts: Sequence[TextRecord]


class ScatterRecord(Record):
    """Points of several groups in a plane; ``x`` and ``y`` have the points of each group."""

    kind: Literal["scatter"] = "scatter"
    title: str
    x_axis: str
    y_axis: str
    groups: Sequence[str]
    x: Sequence[Numbers]
    y: Sequence[Numbers]

    @model_validator(mode="after")
    def _check_points(self) -> ScatterRecord:
        sizes = [[len(points) for points in axis] for axis in (self.x, self.y)]
        if sizes[0] != sizes[1] or len(sizes[0]) != len(self.groups):
            raise ValueError(f"{len(self.groups)} groups have {sizes[0]} of x and {sizes[1]} of y")
        return self


DrawnPicture = HeatmapRecord | CurvesRecord | ScatterRecord
Picture = Annotated[DrawnPicture | TextsRecord, Field(discriminator="kind")]


class Reading(Record):
    """What a method gives: tables, the most important first, and pictures.

    ``notes``: what a reader should know before believing the numbers.
    """

    tables: Sequence[TableRecord]
    pictures: Sequence[Picture] = ()
    notes: Sequence[str] = ()

    def look_up(self, row: str, column: str, table: str = "") -> Cell:
        """One cell, by the first cell of its row and the name of its column.

        Args:
            table: how the table's title begins; the first table if empty.

        Raises:
            UnknownNameError: there is no such table, row or column; near names are suggested.
        """
        named = {each.title: each for each in reversed(self.tables) if each.title.startswith(table)}
        if not named:
            raise unknown_name("table", table, [each.title for each in self.tables])
        chosen = list(named.values())[-1]  # the first that begins so
        rows = {str(cells[0]): cells for cells in reversed(chosen.rows)}
        if row not in rows:
            raise unknown_name("row", row, rows)
        if column not in chosen.columns:
            raise unknown_name("column", column, chosen.columns)
        return rows[row][list(chosen.columns).index(column)]


class AnalysisRecord(Record):
    """One analysis: its result, and all that is needed to run it again.

    ``cannot_tell``: what nobody should conclude from it. ``task`` is None where a method looks at
    weights alone.
    """

    schema_version: int = SCHEMA_VERSION
    method: str
    source: str
    cannot_tell: str
    model: ModelRecord
    task: TaskRecord | None
    environment: Environment
    settings: dict[str, Any]
    seconds: float
    reading: Reading
