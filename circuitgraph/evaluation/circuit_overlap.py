"""What two circuits share, beside random circuits that could have shared as much."""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Sequence

import numpy as np
from jaxtyping import Int

from circuitgraph.catalog.comparison_record import Overlap
from circuitgraph.evaluation.intervals import summarise_spread
from circuitgraph.graph.circuit import Circuit
from circuitgraph.graph.graph import Graph
from circuitgraph.graph.random_circuits import RandomCircuits

EdgeNumbers = Int[np.ndarray, " kept"]
_OUTER = ("embed", "logits")  # in every circuit


def list_inner_nodes(circuit: Circuit) -> list[str]:
    """The circuit's nodes but for the embedding and the logits."""
    return [node for node in circuit.nodes if node not in _OUTER]


def measure_jaccard(one: Collection[Hashable], other: Collection[Hashable]) -> float:
    """Things in both over things in either; two empty collections overlap fully."""
    either = set(one) | set(other)
    return len(set(one) & set(other)) / len(either) if either else 1.0


def judge_overlap(n_shared: int, jaccard: float, drawn: Sequence[float]) -> Overlap:
    """An overlap beside overlaps that were drawn at random, at least one."""
    reached = sum(value >= jaccard for value in drawn)
    return Overlap(
        n_shared=n_shared,
        jaccard=jaccard,
        chance=summarise_spread(drawn),
        p=(1 + reached) / (1 + len(drawn)),
    )


class OverlapDraws:
    """Random circuits beside each of several circuits of one graph, drawn once and used for all
    pairs.

    Raises:
        GraphError: a graph with direct edges.
    """

    def __init__(self, circuits: Sequence[Circuit], n_draws: int, seed: int) -> None:
        self._circuits = circuits
        self._seed, self._n_draws = seed, n_draws
        rng = np.random.default_rng([seed, n_draws])
        random, draws = RandomCircuits(circuits[0].graph), range(n_draws)
        self._paths = [
            [_list_edges(random.draw_circuit(len(c), rng)) for _ in draws] for c in circuits
        ]
        self._rewired = [
            [_list_edges(random.rewire_circuit(c, rng)) for _ in draws] for c in circuits
        ]

    def compare_edges(self, one: int, other: int) -> Overlap:
        """Beside circuits of random paths, of the same sizes."""
        return self._compare(one, other, self._paths)

    def compare_by_degree(self, one: int, other: int) -> Overlap:
        """Beside circuits that use the same nodes as often."""
        return self._compare(one, other, self._rewired)

    def _compare(self, one: int, other: int, drawn: Sequence[Sequence[EdgeNumbers]]) -> Overlap:
        real = [_list_edges(self._circuits[i]) for i in (one, other)]
        pairs = zip(drawn[one], drawn[other], strict=True)
        chance = [_measure_edges(*pair)[1] for pair in pairs]
        return judge_overlap(*_measure_edges(*real), chance)

    def compare_nodes(self, one: int, other: int) -> Overlap:
        """Beside as many random nodes of each kind."""
        rng = np.random.default_rng([self._seed, self._n_draws, one, other])
        graph = self._circuits[one].graph
        names = [list_inner_nodes(self._circuits[i]) for i in (one, other)]
        draw = _make_node_draw(graph, rng)
        chance = [measure_jaccard(draw(names[0]), draw(names[1])) for _ in range(self._n_draws)]
        n_shared = len(set(names[0]) & set(names[1]))
        return judge_overlap(n_shared, measure_jaccard(*names), chance)


def _list_edges(circuit: Circuit) -> EdgeNumbers:
    """The numbers of the edges: thousands of masks of a large graph would not fit into memory."""
    return np.flatnonzero(circuit.mask).astype(np.int32)


def _measure_edges(one: EdgeNumbers, other: EdgeNumbers) -> tuple[int, float]:
    """How many edges are shared, and the Jaccard overlap; two empty circuits overlap fully."""
    n_shared = len(np.intersect1d(one, other, assume_unique=True))
    either = len(one) + len(other) - n_shared
    return n_shared, n_shared / either if either else 1.0


def _make_node_draw(graph: Graph, rng: np.random.Generator) -> Callable[[Sequence[str]], list[str]]:
    """A function that draws as many nodes of each kind as there are among those it is given."""
    kind_of = {writer.name: writer.kind for writer in graph.writers}
    supply: dict[str, list[str]] = {}
    for name, kind in kind_of.items():
        supply.setdefault(kind, []).append(name)

    def draw_nodes(names: Sequence[str]) -> list[str]:
        kinds = [kind_of[name] for name in names]
        return [
            str(name)
            for kind in sorted(set(kinds))
            for name in rng.choice(supply[kind], kinds.count(kind), replace=False)
        ]

    return draw_nodes
