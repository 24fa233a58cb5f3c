"""The page of a circuit, or of two that are compared: records in, one HTML file out."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from circuitgraph.catalog.analysis_record import AnalysisRecord, Reading
from circuitgraph.catalog.scrub_record import ScrubRecord
from circuitgraph.drawing.page.assembly import assemble_page
from circuitgraph.drawing.page.attaching import attach_reading, name_types
from circuitgraph.drawing.page.entry import PageCircuit
from circuitgraph.drawing.page.facts import list_facts
from circuitgraph.drawing.page.hypothesis import describe_scrub, name_roles
from circuitgraph.drawing.page.parts import (
    list_edges,
    list_nodes,
    list_readers,
    list_shared_inputs,
)
from circuitgraph.errors import ArgumentError
from circuitgraph.graph.graph import Graph

_STYLES = ("page.css", "drawing.css", "panel.css")


def make_circuit_page(
    entries: Sequence[PageCircuit],
    *,
    types: Mapping[str, str] | None = None,
    analyses: Sequence[AnalysisRecord] = (),
    readings: Mapping[str, Reading] | None = None,
    scrub: ScrubRecord | None = None,
) -> bytes:
    """The page, with nothing outside it: no network, no server, no file beside it.

    Args:
        entries: one circuit, or two of one graph to compare.
        types: what nodes are called, such as types of heads.
        analyses: whose tables and pictures are shown at the nodes and edges that they name.
        readings: more of the same, by the titles that they get.
        scrub: of a hypothesis about the circuit, which gives nodes their roles.

    Raises:
        ArgumentError: not one or two circuits, or circuits of different graphs.
    """
    data = make_data(entries, types or {}, scrub)
    homes = {home["name"]: home for home in (*data["edges"], *data["nodes"])}
    titled = [(record.method, record.reading) for record in analyses]
    for title, reading in (*titled, *(readings or {}).items()):
        for name, kind in name_types(reading).items():
            if name in homes:
                homes[name]["type"] = kind
        attach_reading(title, reading, homes, data["readings"])
        data["notes"] += [f"{title}: {note}" for note in reading.notes]
    title = " and ".join(entry.name for entry in entries)
    texts = {
        "title": title,
        "subtitle": _describe_entries(entries),
        "name": re.sub(r"[^\w.-]+", "-", title)[:60],
    }
    return assemble_page(
        "circuit.html",
        texts=texts,
        data=data,
        styles=_STYLES,
        main="main",
        with_layout=True,
    )


def make_data(
    entries: Sequence[PageCircuit], types: Mapping[str, str], scrub: ScrubRecord | None
) -> dict[str, Any]:
    """What the page is told, as plain values; see `parts` for nodes, readers and edges."""
    graph = _check_graph(entries)
    mask = np.any([entry.circuit.mask for entry in entries], axis=0)
    nodes = list_nodes(graph, mask)
    numbers = {node["name"]: number for number, node in enumerate(nodes)}
    readers, places = list_readers(graph, mask, numbers)
    roles = {} if scrub is None else name_roles(scrub)
    for node in nodes:
        name = node["name"]
        node |= {"type": types.get(name, ""), "role": roles.get(name, "")}
        node |= {"facts": _list_node_facts(name, entries), "readings": []}
    parts = [
        (numbers[reader.name], numbers[part])
        for reader in list_shared_inputs(graph, mask)
        for part in graph.reader_nodes(reader)
        if part in numbers
    ]
    return {
        "circuits": [_describe_circuit(entry, entries) for entry in entries],
        "direct": graph.direct,
        "nodes": nodes,
        "readers": readers,
        "edges": list_edges(graph, entries, numbers, places),
        "parts": parts,
        "notes": [],
        "readings": [],
        "scrub": None if scrub is None else describe_scrub(scrub),
    }


def _check_graph(entries: Sequence[PageCircuit]) -> Graph:
    """The one graph of all circuits."""
    if len(entries) not in (1, 2):
        raise ArgumentError(f"A page shows one circuit or two, not {len(entries)}.")
    first, last = entries[0].circuit.graph, entries[-1].circuit.graph
    if first != last:
        raise ArgumentError(
            "The two circuits are of different graphs, whose edges cannot be compared: name two of "
            f"one graph. They are of {first} and {last}."
        )
    return first


def _describe_circuit(entry: PageCircuit, entries: Sequence[PageCircuit]) -> dict[str, Any]:
    letter = f"{'AB'[entries.index(entry)]}: " if len(entries) > 1 else ""
    algorithm = entry.record.algorithm
    return {
        "name": f"{letter}{entry.name}",
        "metric": entry.record.metric,
        "score": algorithm and algorithm.score,
        "facts": list_facts(entry),
    }


def _list_node_facts(name: str, entries: Sequence[PageCircuit]) -> list[tuple[str, Any]]:
    """What judgements say of single nodes."""
    judgements = [entry.judgement for entry in entries]
    return [
        ("incompleteness without it", one.completeness.nodes[name])
        for one in judgements
        if one and one.completeness and name in one.completeness.nodes
    ]


def _describe_entries(entries: Sequence[PageCircuit]) -> str:
    parts = []
    for entry in entries:
        record = entry.record
        algorithm = record.algorithm
        search = "" if algorithm is None else f" by {algorithm.name}"
        parts.append(f"{len(record.edges):,} of {record.graph.n_edges:,} edges{search}")
    return "; ".join(parts)
