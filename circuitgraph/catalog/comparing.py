"""Two circuits compared: which edges and nodes they share, and whether effects agree."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from circuitgraph.graph.circuit import Circuit

_FEWEST = 3  # edges that a correlation is taken over


@dataclass(frozen=True)
class CircuitComparison:
    """What became of circuit A in circuit B.

    Attributes:
        same_graph: whether both are circuits of one graph; else names are compared all the same.
        shared, removed, added: edges of both, of A only, of B only.
        shared_nodes, removed_nodes, added_nodes: likewise.
        effects: for each shared edge its effect in A and in B, None where it was not tested;
            the largest difference first.
        correlation: of these effects (Pearson); None below three, or where one does not vary.
    """

    same_graph: bool
    shared: tuple[str, ...]
    removed: tuple[str, ...]
    added: tuple[str, ...]
    shared_nodes: tuple[str, ...]
    removed_nodes: tuple[str, ...]
    added_nodes: tuple[str, ...]
    effects: dict[str, tuple[float | None, float | None]]
    correlation: float | None

    @property
    def is_same(self) -> bool:
        """Whether both keep the same edges of one graph."""
        return self.same_graph and not self.removed and not self.added

    @property
    def edge_overlap(self) -> float:
        """Jaccard overlap of the edges; 1 where neither has any."""
        return _measure_overlap(self.shared, self.removed, self.added)

    @property
    def node_overlap(self) -> float:
        """Jaccard overlap of the nodes."""
        return _measure_overlap(self.shared_nodes, self.removed_nodes, self.added_nodes)

    def to_content(self) -> dict[str, Any]:
        """Plain values for JSON."""
        overlaps = {"edge_overlap": self.edge_overlap, "node_overlap": self.node_overlap}
        return {**vars(self), **overlaps}


def diff_circuits(a: Circuit, b: Circuit) -> CircuitComparison:
    """What became of circuit A in circuit B; effects are compared in each one's own unit."""
    own, other = dict.fromkeys(a.edges), dict.fromkeys(b.edges)
    shared = [edge for edge in own if edge in other]
    effects = {edge: (_read_effect(a, edge), _read_effect(b, edge)) for edge in shared}
    ordered = dict(sorted(effects.items(), key=lambda item: -_measure_difference(*item[1])))
    nodes, other_nodes = dict.fromkeys(a.nodes), dict.fromkeys(b.nodes)
    return CircuitComparison(
        same_graph=a.graph == b.graph,
        shared=tuple(shared),
        removed=tuple(edge for edge in own if edge not in other),
        added=tuple(edge for edge in other if edge not in own),
        shared_nodes=tuple(node for node in nodes if node in other_nodes),
        removed_nodes=tuple(node for node in nodes if node not in other_nodes),
        added_nodes=tuple(node for node in other_nodes if node not in nodes),
        effects=ordered,
        correlation=_correlate(list(effects.values())),
    )


def _read_effect(circuit: Circuit, edge: str) -> float | None:
    return circuit.effect_of(circuit.graph.edge_index(edge))


def _measure_difference(a: float | None, b: float | None) -> float:
    return 0.0 if a is None or b is None else abs(a - b)


def _correlate(pairs: list[tuple[float | None, float | None]]) -> float | None:
    known = np.array([pair for pair in pairs if None not in pair], float).reshape(-1, 2)
    if len(known) < _FEWEST or not known.std(axis=0).all():
        return None
    return float(np.corrcoef(known.T)[0, 1])


def _measure_overlap(shared: tuple, removed: tuple, added: tuple) -> float:
    n = len(shared) + len(removed) + len(added)
    return len(shared) / n if n else 1.0
