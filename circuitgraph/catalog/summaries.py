"""What a listing says of an entry, read without the libraries that check a whole record.

A catalog of a thousand entries is to be listed at once, so that only what is shown is checked here;
`circuitgraph.catalog.files.load_record` checks the rest when an entry is opened.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from circuitgraph.errors import DataError
from circuitgraph.foreign import DEEPEST
from circuitgraph.printable import NAME, make_printable

Content = Mapping[str, Any]


@dataclass(frozen=True)
class Summary:
    """An entry in a line.

    Attributes:
        entry: its name.
        catalog: the folder or URL it is in.
        model, task, algorithm, metric, ablation: names; None where the circuit has none.
        n_edges, n_graph: edges of the circuit and of the whole graph.
        faithfulness, random: mean, low and high on unseen prompts, of the circuit and of random
            ones of its size; None where nobody measured.
        edges: their names.
    """

    entry: str
    catalog: str
    model: str | None
    task: str | None
    algorithm: str | None
    metric: str | None
    ablation: str | None
    n_edges: int
    n_graph: int
    faithfulness: tuple[float, float, float] | None
    random: tuple[float, float, float] | None
    edges: tuple[str, ...]

    @cached_property
    def nodes(self) -> set[str]:
        """The nodes that an edge touches."""
        return {end.partition("<")[0] for edge in self.edges for end in edge.split("->")}

    def to_content(self) -> dict[str, Any]:
        """Plain values for JSON, without the edges."""
        names = ("mean", "low", "high")
        measured = {
            name: numbers and dict(zip(names, numbers, strict=True))
            for name, numbers in (("faithfulness", self.faithfulness), ("random", self.random))
        }
        plain = {name: value for name, value in vars(self).items() if name in _PLAIN}
        return plain | measured


_NAMES = ("entry", "catalog", "model", "task", "algorithm", "metric", "ablation")
_PLAIN = (*_NAMES, "n_edges", "n_graph")


def read_summary_line(content: bytes, entry: str, catalog: str) -> Summary:
    """The summary of what a ``circuit.json`` holds.

    Raises:
        DataError: it is no JSON, or not the record of a circuit as far as it is looked at.
    """
    record = _parse_object(content)
    evaluation = _read_object(record, "evaluation", "evaluation")
    algorithm = _read_object(record, "algorithm", "algorithm")
    edges = record.get("edges")
    if not isinstance(edges, list):
        raise DataError("edges is missing, or no list")
    return Summary(
        entry=entry,
        catalog=catalog,
        model=_read_text(_read_object(record, "model", "model"), "name", "model"),
        task=_read_text(_read_object(record, "task", "task"), "name", "task"),
        algorithm=_read_text(algorithm, "name", "algorithm"),
        metric=_read_text(record, "metric", "the record"),
        ablation=_read_text(record, "ablation", "the record"),
        n_edges=len(edges),
        n_graph=_read_count(_read_object(record, "graph", "graph")),
        faithfulness=_read_interval(evaluation, "faithfulness"),
        random=_read_interval(evaluation, "random_faithfulness"),
        edges=tuple(map(_read_edge, edges)),
    )


def _parse_object(content: bytes) -> Content:
    try:
        record = json.loads(content, parse_constant=_refuse_constant)
    except RecursionError as error:
        raise DataError(f"it is nested more than {DEEPEST} levels deep") from error
    except ValueError as error:
        raise DataError(f"it cannot be read as JSON: {make_printable(str(error))}") from error
    if not isinstance(record, dict):
        raise DataError(f"it holds a {type(record).__name__}, but must hold an object")
    return record


def _refuse_constant(text: str) -> None:
    raise DataError(f"it holds {text}, but must hold finite numbers")


def _read_object(holder: Content, name: str, where: str) -> Content:
    value = holder.get(name)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise DataError(f"{where} is a {type(value).__name__}, but must be an object")
    return value


def _read_text(holder: Content, name: str, where: str) -> str | None:
    value = holder.get(name)
    if value is not None and not isinstance(value, str):
        raise DataError(f"{name} of {where} is a {type(value).__name__}, but must be a name")
    return None if value is None else make_printable(value, NAME)


def _read_count(graph: Content) -> int:
    value = graph.get("n_edges")
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 2**63:
        raise DataError("graph.n_edges is missing, or no number of edges")
    return value


def _read_interval(evaluation: Content, name: str) -> tuple[float, float, float] | None:
    interval = _read_object(evaluation, name, name)
    if not interval:
        return None
    values = tuple(interval.get(part) for part in ("mean", "low", "high"))
    for value in values:
        if not isinstance(value, int | float) or isinstance(value, bool):
            raise DataError(f"{name} has no mean, low and high that are numbers")
        if abs(value) > 1e300 or not math.isfinite(value):
            raise DataError(f"{name} holds a number that is not finite")
    mean, low, high = map(float, values)  # pyright: ignore[reportArgumentType]
    return mean, low, high


def _read_edge(edge: Any) -> str:
    name = edge.get("edge") if isinstance(edge, dict) else None
    if not isinstance(name, str):
        raise DataError("edges holds something that names no edge")
    return name
