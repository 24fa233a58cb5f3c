"""The search space: which edges a search decides on, which it leaves out and which it protects."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

import numpy as np
from jaxtyping import Bool

from circuitgraph.errors import (
    ArgumentError,
    GraphError,
    UnknownNameError,
    list_problems,
    unknown_name,
)
from circuitgraph.graph.circuit import Circuit
from circuitgraph.graph.graph import Graph
from circuitgraph.graph.node import ARROW, canonical_node

GROUPS = "Groups are 'mlps', 'heads' and 'layer 2'; '*' stands for anything, as in 'm*'."


@dataclass(frozen=True, eq=False)
class SearchSpace:
    """What a search may do with each edge of a graph.

    Attributes:
        allowed: False where an edge is never in the circuit.
        protected: True where an edge is always in the circuit.
        start: the edges of the first mask; where a search has a start, it begins with these.
        words: what the space was made from, as plain JSON values; empty for the whole space.
    """

    allowed: Bool[np.ndarray, " edges"]
    protected: Bool[np.ndarray, " edges"]
    start: Bool[np.ndarray, " edges"]
    words: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def whole(cls, graph: Graph) -> SearchSpace:
        """All edges, none of them protected."""
        every = np.ones(graph.n_edges, bool)
        return cls(every, ~every, every)

    @property
    def is_whole(self) -> bool:
        """Whether a search decides on every edge, as without any space."""
        return not self.words

    @property
    def has_start(self) -> bool:
        """Whether the search shall begin with another mask than that of all edges."""
        return self.words.get("start_from") is not None

    @property
    def free(self) -> Bool[np.ndarray, " edges"]:
        """The edges that a search decides on."""
        return self.allowed & ~self.protected

    @property
    def n_protected(self) -> int:
        """How many edges are in every circuit."""
        return int(self.protected.sum())

    def confine(self, mask: Bool[np.ndarray, " edges"]) -> Bool[np.ndarray, " edges"]:
        """The mask without what is left out, and with what is protected."""
        return (mask & self.allowed) | self.protected


def make_space(
    graph: Graph,
    *,
    without: Iterable[str] = (),
    protect: Iterable[str] = (),
    inside: Circuit | Iterable[str] | None = None,
    start_from: Circuit | Iterable[str] | None = None,
) -> SearchSpace:
    """The search space that these words mean in a graph.

    A node stands for all edges that begin or end at it, ``a1.h0<q>`` for those into this input.

    Args:
        without: nodes, groups (``mlps``, ``heads``, ``layer 2``), edges, and patterns such as
            ``m*`` and ``a0.*->logits``: never in the circuit, always ablated.
        protect: the same, always in the circuit and never tested; a circuit stands for its edges.
            An edge of a protected node that is left out stays out.
        inside: no other edges than those of this circuit can be in the result.
        start_from: the circuit that a search begins with, where the search has a beginning.

    Raises:
        UnknownNameError: no such node, group or edge; near names are suggested.
        GraphError: a circuit of another graph.
        ArgumentError: a protected name all of whose edges are left out, or no edge left to decide
            on.
    """
    given = {
        "without": list(without),
        "protect": list(protect),
        "inside": _list_edges(graph, inside, "inside"),
        "start_from": _list_edges(graph, start_from, "start_from"),
    }
    if not any(value for value in given.values()) and inside is None and start_from is None:
        return SearchSpace.whole(graph)
    allowed = _read_mask(graph, given["inside"]) & ~find_named_edges(graph, given["without"])
    protected = find_named_edges(graph, given["protect"]) & allowed
    start = _read_mask(graph, given["start_from"])
    space = SearchSpace(allowed, protected, (start & allowed) | protected, given)
    lost = [
        name for name in given["protect"] if not (find_named_edges(graph, [name]) & allowed).any()
    ]
    if lost:
        title = "These are protected, but left out of the search space as well:"
        raise ArgumentError(list_problems(title, lost))
    if not space.free.any():
        raise ArgumentError(
            "The search space has no edge to decide on: leave out, or protect, less."
        )
    return space


def _list_edges(
    graph: Graph, edges: Circuit | Iterable[str] | None, option: str
) -> list[str] | None:
    if isinstance(edges, Circuit) and edges.graph != graph:
        raise GraphError(
            f"The circuit of {option} is of another graph, {edges.graph}, than the search: {graph}."
        )
    return None if edges is None else list(edges)


def _read_mask(graph: Graph, edges: list[str] | None) -> Bool[np.ndarray, " edges"]:
    return np.ones(graph.n_edges, bool) if edges is None else Circuit.of(graph, edges).mask


def find_named_edges(graph: Graph, names: Iterable[str]) -> Bool[np.ndarray, " edges"]:
    """The edges that any of these nodes, groups, edges and patterns stand for.

    Raises:
        UnknownNameError: a name that stands for nothing in this graph.
    """
    mask = np.zeros(graph.n_edges, bool)
    for name in names:
        mask |= _find_edges_of(graph, name.strip())
    return mask


def _find_edges_of(graph: Graph, name: str) -> Bool[np.ndarray, " edges"]:
    if ARROW in name:
        if "*" not in name:
            return Circuit.of(graph, [name]).mask
        mask = np.array([fnmatchcase(edge, name) for edge in graph.edges])
        if not mask.any():
            raise UnknownNameError(f"No edge of this graph is like {name!r}. {GROUPS}")
        return mask
    inputs = {reader.name: i for i, reader in enumerate(graph.readers) if reader.is_attention}
    nodes = [writer.node for writer in graph.writers] + [reader.node for reader in graph.readers]
    layer = re.fullmatch(r"layer[ _]?(\d+)", name.lower())
    if name.lower() == "mlps":
        chosen = {str(node) for node in nodes if node.is_in_mlp}
    elif name.lower() == "heads":
        chosen = {str(node) for node in nodes if node.kind in ("head", "kv")}
    elif layer:
        chosen = {str(node) for node in nodes if node.layer == int(layer[1])}
    elif "*" in name:
        chosen = {str(node) for node in nodes if fnmatchcase(str(node), name)}
    else:
        canonical = _read_node(name)
        if canonical in inputs:
            return graph.ends[0] == inputs[canonical]
        chosen = {canonical} & {str(node) for node in nodes}
    if not chosen:
        raise unknown_name("node of this graph", name, {str(node) for node in nodes}, GROUPS)
    return _touch_nodes(graph, chosen)


def _read_node(name: str) -> str:
    try:
        return canonical_node(name)
    except UnknownNameError:
        return name  # the message with near names is made where the graph is known


def _touch_nodes(graph: Graph, chosen: set[str]) -> Bool[np.ndarray, " edges"]:
    """The edges that begin or end at one of the nodes.

    An input that several heads share belongs to them if all of these heads are chosen.
    """
    dst, src = graph.ends
    writers = np.array([writer.name in chosen for writer in graph.writers])
    readers = np.array(
        [
            str(reader.node) in chosen or bool(reader.feeds and writers[list(reader.feeds)].all())
            for reader in graph.readers
        ]
    )
    return readers[dst] | np.where(src >= 0, writers[src], False)
