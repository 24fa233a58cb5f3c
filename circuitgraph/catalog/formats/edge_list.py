"""Our own list of edges: a table to read, to edit and to load anywhere."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from circuitgraph.catalog.formats.base import Decoded, Encoded, decoder, encoder
from circuitgraph.catalog.formats.named_edges import (
    NamedEdge,
    make_circuit,
    need_graph,
    read_list,
    read_score,
)
from circuitgraph.errors import DataError
from circuitgraph.graph.circuit import Circuit
from circuitgraph.graph.graph import Graph
from circuitgraph.graph.node import ARROW
from circuitgraph.printable import NAME, make_printable

COLUMNS = ("edge", "score", "in_graph")
_PART = re.compile(r"\bm\d+\.")
_TRUTH = {"true": True, "1": True, "false": False, "0": False, "": True}


@encoder("edge-list", suffix=".csv")
def encode_edge_list(circuit: Circuit) -> Encoded:
    """A table of edges with their scores: all that were scored, and whether they are kept."""
    graph, listed = circuit.graph, circuit.mask.copy()
    if circuit.scores is not None:
        listed |= np.ones_like(listed) if circuit.tested is None else circuit.tested
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(COLUMNS)
    for edge in np.flatnonzero(listed):
        score = circuit.effect_of(edge)
        is_kept = str(bool(circuit.mask[edge])).lower()
        writer.writerow((graph.edges[edge], "" if score is None else repr(score), is_kept))
    notes = ["Of where the circuit came from nothing is held."] if circuit.provenance else []
    return Encoded(buffer.getvalue().encode(), tuple(notes))


@decoder("edge-list", suffix=".csv")
def decode_edge_list(path: Path, graph: Graph | None) -> Decoded:
    """A table with the columns edge, score and in_graph; the last two may be missing."""
    graph = need_graph(graph)
    rows = _read_rows(read_list(path, graph, "utf-8-sig"))
    names = [row["edge"] for row in rows]
    _refuse_other_graphs(graph, names)
    # Edges from a q, k or v to its own head are of the ACDC reference's graph.
    is_direct = any("<" in name.partition(ARROW)[0] for name in names)
    entries = [_read_entry(f"line {number}", row) for number, row in enumerate(rows, start=2)]
    return Decoded(make_circuit(replace(graph, direct=True) if is_direct else graph, entries))


def _refuse_other_graphs(graph: Graph, names: Iterable[str]) -> None:
    for name in names:
        if _PART.search(name) and not graph.splits:
            raise DataError(
                f"it has parts of MLPs ({make_printable(name, NAME)}), but does not say which "
                "others there are: keep the folder of the circuit instead"
            )
        if "[" in name and not graph.head_splits:
            raise DataError(
                f"it has parts of heads ({make_printable(name, NAME)}), but does not say which "
                "others there are: keep the folder of the circuit instead"
            )
        if ".kv" in name and graph.n_kv_heads is None:
            raise DataError("it is of key-value heads: say so (--grouped)")


def _read_entry(where: str, row: Mapping[str, str]) -> NamedEdge:
    word = (row.get("in_graph") or "").strip().lower()
    if word not in _TRUTH:
        word = make_printable(word, NAME)
        raise DataError(f"{where}: in_graph is {word!r}, not true or false")
    return NamedEdge(where, row["edge"], read_score(row.get("score") or "", where), _TRUTH[word])


def _read_rows(text: str) -> list[dict[str, str]]:
    try:
        reader = csv.DictReader(io.StringIO(text), strict=True)
        unknown = [name for name in reader.fieldnames or [""] if name not in COLUMNS]
        if unknown or "edge" not in (reader.fieldnames or []):
            names = make_printable(", ".join(map(repr, unknown)), NAME)
            raise DataError(
                f"its first line must name the columns {', '.join(COLUMNS)} (the first at least)"
                + (f", not {names}" if unknown else "")
            )
        rows = list(reader)
    except csv.Error as error:
        raise DataError(f"it is no table: {error}") from error
    for number, row in enumerate(rows, start=2):
        if None in row or row["edge"] is None:
            raise DataError(f"line {number} has other columns than the first line names")
    return rows
