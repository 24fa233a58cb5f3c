"""Lists of edges by name: what every format of such lists shares."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from circuitgraph.errors import CircuitGraphError, DataError, list_problems
from circuitgraph.graph.circuit import Circuit
from circuitgraph.graph.graph import Graph
from circuitgraph.printable import NAME, make_printable, shorten_text


@dataclass(frozen=True)
class NamedEdge:
    """One entry of a list.

    Attributes:
        where: the entry's place in the file, for messages.
        score: None where the list gives none.
    """

    where: str
    name: str
    score: float | None = None
    is_kept: bool = True


def need_graph(graph: Graph | None) -> Graph:
    """The model's graph, which a list of edges does not say.

    Raises:
        DataError: no model was given.
    """
    if graph is None:
        raise DataError("it names edges, but not the model's shape: give the model (--model)")
    return graph


def make_circuit(graph: Graph, entries: Iterable[NamedEdge]) -> Circuit:
    """The circuit of a list; scores are measured where the list gives them.

    Raises:
        DataError: unknown edges, edges named twice and scores that are no finite numbers, all
            listed.
    """
    mask, scores, scored = np.zeros(graph.n_edges, bool), np.zeros(graph.n_edges), set()
    lines: dict[int, str] = {}
    problems = []
    for entry in entries:
        try:
            edge = graph.edge_index(entry.name)
        except CircuitGraphError as error:
            problems.append(f"{entry.where}: {error}")
            continue
        if edge in lines:
            name = make_printable(entry.name, NAME)
            problems.append(f"{entry.where}: {name} is there already, at {lines[edge]}")
            continue
        lines[edge], mask[edge] = entry.where, entry.is_kept
        if entry.score is not None and not math.isfinite(entry.score):
            problems.append(f"{entry.where}: the score is {entry.score}, no finite number")
        elif entry.score is not None:
            scores[edge] = entry.score
            scored.add(edge)
    if problems:
        raise DataError(list_problems("its edges cannot be taken:", problems))
    if not scored:
        return Circuit(graph, mask)
    tested = np.zeros(graph.n_edges, bool)
    tested[list(scored)] = True
    return Circuit(graph, mask, scores, None if tested.all() else tested)


def read_score(text: str, where: str) -> float | None:
    """The number of a cell; None where the cell is empty.

    Raises:
        DataError: no number.
    """
    if not text.strip():
        return None
    try:
        return float(text)
    except ValueError as error:
        raise DataError(
            f"{where}: {make_printable(text, NAME)!r} is no number for a score"
        ) from error


def check_score(score: Any, where: str) -> float | None:
    """A score of JSON; None where there is none.

    Raises:
        DataError: no number.
    """
    if score is None:
        return None
    if isinstance(score, bool) or not isinstance(score, int | float):
        shown = shorten_text(repr(score), NAME)
        raise DataError(f"{where} has the score {shown}, which is no number")
    return float(score)
