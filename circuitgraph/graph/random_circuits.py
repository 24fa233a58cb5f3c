"""Random circuits to compare with: made of whole paths, or of a circuit's own nodes and degrees."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from jaxtyping import Bool

from circuitgraph.errors import GraphError
from circuitgraph.graph.circuit import Circuit, check_edge_count
from circuitgraph.graph.graph import Graph

_TRIES = 200  # paths in a row that add too many edges
_SWAPS_PER_EDGE = 10  # after which a circuit has forgotten its edges
_BLOCK = 4096  # random numbers that are drawn at a time: one by one takes most of a walk


class RandomCircuits:
    """Random circuits of one graph.

    Raises:
        GraphError: a graph with direct edges, which are no choice of their own.
    """

    def __init__(self, graph: Graph) -> None:
        if graph.direct:
            raise GraphError("Random circuits are drawn in graphs without direct edges.")
        self.graph = graph
        readers, writers = (each.tolist() for each in graph.ends)
        self._readers, self._writers = readers, writers
        self._numbers = {ends: edge for edge, ends in enumerate(zip(readers, writers, strict=True))}
        self._into: list[list[int]] = [[] for _ in graph.readers]
        for edge, reader in enumerate(readers):
            self._into[reader].append(edge)
        self._behind: list[list[int]] = [[] for _ in graph.writers]  # readers that move a writer
        for number, reader in enumerate(graph.readers):
            for writer in graph.moved_by(reader):
                self._behind[writer].append(number)

    def draw_circuit(self, n_edges: int, rng: np.random.Generator) -> Circuit:
        """A circuit of random paths from the embedding to the logits, with so many edges, or with a
        few less where no path fits.

        A path is a walk from the logits back, each step uniform among those that are legal.

        Raises:
            ArgumentError: more edges than there are.
        """
        check_edge_count(self.graph, n_edges)
        uniform = _iterate_uniform(rng)
        kept: set[int] = set()
        failures = 0
        while len(kept) < n_edges and failures < _TRIES:
            more = kept.union(self._walk_back(uniform))
            failures = 0 if len(kept) < len(more) <= n_edges else failures + 1
            if not failures:
                kept = more
        return self._make_circuit(kept)

    def _walk_back(self, uniform: Iterator[float]) -> Iterator[int]:
        reader = len(self._into) - 1
        while True:
            edges = self._into[reader]
            edge = edges[int(next(uniform) * len(edges))]
            yield edge
            behind = self._behind[self._writers[edge]]
            if not behind:
                return
            reader = behind[int(next(uniform) * len(behind))]

    def rewire_circuit(self, circuit: Circuit, rng: np.random.Generator) -> Circuit:
        """A circuit in which every writer and every reader has as many edges as in the given one.

        Two edges exchange their readers, again and again, wherever both new edges are legal and not
        there yet (Maslov and Sneppen 2002).
        """
        edges = np.flatnonzero(circuit.mask).tolist()
        kept = set(edges)
        n_swaps = _SWAPS_PER_EDGE * len(edges)
        picks = rng.integers(len(edges), size=(n_swaps, 2)).tolist() if edges else []
        for first, second in picks:
            one, other = edges[first], edges[second]
            new = self._numbers.get((self._readers[other], self._writers[one]))
            newer = self._numbers.get((self._readers[one], self._writers[other]))
            if new is None or newer is None or new in kept or newer in kept:
                continue
            kept -= {one, other}
            kept |= {new, newer}
            edges[first], edges[second] = new, newer
        return self._make_circuit(kept)

    def _make_circuit(self, kept: set[int]) -> Circuit:
        mask: Bool[np.ndarray, " edges"] = np.zeros(self.graph.n_edges, bool)
        mask[list(kept)] = True
        return Circuit(self.graph, mask)


def _iterate_uniform(rng: np.random.Generator) -> Iterator[float]:
    """Numbers from 0 up to 1, without end."""
    while True:
        yield from rng.random(_BLOCK).tolist()
