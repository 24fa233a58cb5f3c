"""A circuit: the part of a graph that is kept, with what is known of each edge."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import networkx as nx
import numpy as np
from jaxtyping import Bool, Float

from circuitgraph.errors import ArgumentError, GraphError, check_at_least, check_finite
from circuitgraph.graph.graph import Graph, make_networkx
from circuitgraph.graph.reach import find_path_edges
from circuitgraph.showable import Showable


@dataclass(frozen=True, eq=False)
class Circuit(Showable):
    """A mask over a graph's edges, with scores.

    Circuits of one graph form a Boolean algebra: ``a | b``, ``a & b``, ``a - b``, ``a ^ b``,
    ``~a``, ``a <= b``. Two circuits are equal if they keep the same edges of equal graphs; scores
    and provenance do not count. The results of the algebra carry neither, because they were
    measured by nobody.

    Attributes:
        graph: the graph that the mask is over.
        mask: True where an edge is kept.
        scores: one number per edge, in the unit of the metric; for ACDC, what removing the edge
            added to the loss at the moment it was tested (zero for edges never tested).
        tested: True where the score was measured. None: all were, or none.
        provenance: what produced it, as plain JSON values.

    Raises:
        GraphError: an array whose length is not the number of the graph's edges, or a mask that is
            not Boolean.
    """

    graph: Graph
    mask: Bool[np.ndarray, " edges"]
    scores: Float[np.ndarray, " edges"] | None = None
    tested: Bool[np.ndarray, " edges"] | None = None
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("mask", "scores", "tested"):
            values = getattr(self, name)
            if values is not None:
                self.graph.check_per_edge(name, values)
        if self.mask.dtype != bool:
            raise GraphError(
                f"mask has the type {self.mask.dtype}, but must be bool: True where an edge is "
                "kept."
            )

    # Making one

    @classmethod
    def full(cls, graph: Graph) -> Circuit:
        """All edges."""
        return cls(graph, np.ones(graph.n_edges, bool))

    @classmethod
    def empty(cls, graph: Graph) -> Circuit:
        """No edge."""
        return cls(graph, np.zeros(graph.n_edges, bool))

    @classmethod
    def of(cls, graph: Graph, edges: Iterable[str]) -> Circuit:
        """The named edges; names of papers and other tools are understood."""
        mask = np.zeros(graph.n_edges, bool)
        mask[[graph.edge_index(edge) for edge in edges]] = True
        return cls(graph, mask)

    @classmethod
    def random(cls, graph: Graph, n: int, rng: np.random.Generator) -> Circuit:
        """``n`` edges drawn uniformly without replacement: the baseline of equal size."""
        check_edge_count(graph, n)
        mask = np.zeros(graph.n_edges, bool)
        mask[rng.choice(graph.n_edges, n, replace=False)] = True
        return cls(graph, mask)

    @classmethod
    def top(
        cls, graph: Graph, scores: Float[np.ndarray, " edges"], n: int, *, absolute: bool = True
    ) -> Circuit:
        """The ``n`` edges of highest (absolute) score; ties go to the edge numbered first."""
        check_edge_count(graph, n)
        ranked = np.argsort(-compute_strengths(graph, scores, absolute), kind="stable")
        mask = np.zeros(graph.n_edges, bool)
        mask[ranked[:n]] = True
        return cls(graph, mask, scores)

    @classmethod
    def above(
        cls,
        graph: Graph,
        scores: Float[np.ndarray, " edges"],
        threshold: float,
        *,
        absolute: bool = True,
    ) -> Circuit:
        """The edges whose (absolute) score is at least ``threshold``."""
        check_finite("threshold", threshold)
        return cls(graph, compute_strengths(graph, scores, absolute) >= threshold, scores)

    # Looking at it

    @property
    def edges(self) -> list[str]:
        """Names of the kept edges, in the graph's order."""
        return [self.graph.edges[i] for i in np.flatnonzero(self.mask)]

    @property
    def nodes(self) -> list[str]:
        """Names of the nodes that a kept edge touches, in the order of the forward pass."""
        touched = make_networkx(self.graph, self.mask)
        return [name for name in touched.nodes if touched.degree(name)]

    def __len__(self) -> int:
        return int(self.mask.sum())

    def __iter__(self) -> Iterator[str]:
        return iter(self.edges)

    def __contains__(self, edge: str) -> bool:
        return bool(self.mask[self.graph.edge_index(edge)])

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Circuit):
            return NotImplemented
        return self.graph == other.graph and np.array_equal(self.mask, other.mask)

    def __hash__(self) -> int:
        return hash((self.graph, self.mask.tobytes()))

    def __repr__(self) -> str:
        return f"Circuit({len(self)} of {self.graph.n_edges} edges, {len(self.nodes)} nodes)"

    def effect_of(self, edge: int | np.integer) -> float | None:
        """The score of the edge with this number, or None where no score was measured."""
        if self.scores is None or (self.tested is not None and not self.tested[edge]):
            return None
        return float(self.scores[edge])

    def to_networkx(self) -> nx.DiGraph:
        """The kept edges between whole nodes, without the nodes that no edge touches."""
        network = make_networkx(self.graph, self.mask)
        network.remove_nodes_from([name for name, degree in list(network.degree) if degree == 0])
        return network

    # Algebra

    def __or__(self, other: Circuit) -> Circuit:
        return self._combine_with(other, np.logical_or)

    def __and__(self, other: Circuit) -> Circuit:
        return self._combine_with(other, np.logical_and)

    def __xor__(self, other: Circuit) -> Circuit:
        return self._combine_with(other, np.logical_xor)

    def __sub__(self, other: Circuit) -> Circuit:
        return self & ~other

    def __invert__(self) -> Circuit:
        return Circuit(self.graph, ~self.mask)

    def __le__(self, other: Circuit) -> bool:
        return len(self - other) == 0

    def _combine_with(self, other: Circuit, operation: np.ufunc) -> Circuit:
        if self.graph != other.graph:
            raise GraphError(
                f"The circuits are of different graphs: {self.graph} and {other.graph}."
            )
        return Circuit(self.graph, operation(self.mask, other.mask))

    # Mending

    def without(self, edges: Iterable[str]) -> Circuit:
        """The circuit less the named edges; scores stay."""
        mask = self.mask & ~Circuit.of(self.graph, edges).mask
        return replace(self, mask=mask)

    def pruned(self) -> Circuit:
        """The circuit without the edges that lie on no path from the embedding to the logits.

        Scores stay. Under resampling this changes no output: a node that no kept edge feeds carries
        its replacement. Under mean and zero ablation the output can change, because such a node
        computes something from its constant input.
        """
        return replace(self, mask=find_path_edges(self.graph, self.mask))


def compute_strengths(
    graph: Graph, scores: Float[np.ndarray, " edges"], absolute: bool
) -> Float[np.ndarray, " edges"]:
    """By what edges are ranked: their (absolute) scores, none of which may be NaN."""
    graph.check_per_edge("scores", scores)
    if np.isnan(scores).any():
        raise ArgumentError(
            f"{int(np.isnan(scores).sum())} of {len(scores)} scores are NaN: nothing to rank."
        )
    return np.abs(scores) if absolute else scores


def check_edge_count(graph: Graph, n: int) -> None:
    """Raise `ArgumentError` unless the graph has ``n`` edges to choose."""
    check_at_least("the number of edges", n, 0)
    if n > graph.n_edges:
        raise ArgumentError(f"the number of edges is {n}, but the graph has only {graph.n_edges}.")
