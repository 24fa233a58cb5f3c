"""Random shapes, graphs and circuits for the property tests."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from hypothesis import strategies as st

from circuitgraph.graph.circuit import Circuit
from circuitgraph.graph.graph import Graph


def graphs(layers: int = 4, heads: int = 4) -> st.SearchStrategy[Graph]:
    """Graphs of up to that many layers and heads, with and without MLPs, parallel or not, of all
    conventions.
    """
    shapes = st.tuples(
        st.integers(1, heads), st.booleans(), st.booleans(), st.booleans(), st.integers(1, heads)
    )

    def build(
        n_layers: int, mlp: bool, parallel: bool, shape: tuple[int, bool, bool, bool, int]
    ) -> Graph:
        n_heads, direct, coupled, grouped, wanted = shape
        if not grouped:
            return Graph(n_layers, n_heads, mlp, direct, parallel, coupled)
        n_kv_heads = max(n for n in range(1, wanted + 1) if n_heads % n == 0)
        return Graph(
            n_layers, n_heads, mlp, parallel=parallel, coupled=coupled, n_kv_heads=n_kv_heads
        )

    return st.builds(build, st.integers(1, layers), st.booleans(), st.booleans(), shapes)


def moved_by(graph: Graph, node: str) -> set[str]:
    """The node, the heads that share a key-value head, or all heads of a layer that share a
    post-norm.
    """
    if not graph.coupled or not node.startswith("a"):
        return fed_by(graph, node)
    return {f"{node.split('.')[0]}.h{h}" for h in range(graph.n_heads)}


def fed_by(graph: Graph, node: str) -> set[str]:
    """The node itself, or the heads that share a key-value head."""
    if ".kv" not in node or graph.n_kv_heads is None:
        return {node}
    layer, kv_head = node.split(".kv")
    return {
        f"{layer}.h{h}"
        for h in range(graph.n_heads)
        if h * graph.n_kv_heads // graph.n_heads == int(kv_head)
    }


@dataclass(frozen=True)
class Drawn:
    """A graph and how to draw circuits in it: the arrays are made in the test, where shapes may be
    checked.
    """

    graph: Graph
    seed: int
    density: float

    def circuits(self, n: int) -> list[Circuit]:
        """``n`` circuits of the graph."""
        rng = np.random.default_rng(self.seed)
        return [
            Circuit(self.graph, rng.random(self.graph.n_edges) < self.density) for _ in range(n)
        ]

    def circuit(self) -> Circuit:
        """One circuit of the graph."""
        return self.circuits(1)[0]


def drawn(layers: int = 3, heads: int = 3) -> st.SearchStrategy[Drawn]:
    """Circuits from nearly empty to nearly full."""
    densities = st.sampled_from([0.05, 0.3, 0.5, 0.8, 0.97])
    return st.builds(Drawn, graphs(layers, heads), st.integers(0, 2**32 - 1), densities)
