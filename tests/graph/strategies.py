"""Random shapes, graphs and circuits for the property tests."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from hypothesis import strategies as st

from circuitgraph.graph.circuit import Circuit
from circuitgraph.graph.graph import Graph


def graphs(layers: int = 4, heads: int = 4) -> st.SearchStrategy[Graph]:
    """Graphs of up to that many layers and heads, with and without MLPs, of both conventions."""
    return st.builds(
        Graph,
        n_layers=st.integers(1, layers),
        n_heads=st.integers(1, heads),
        mlp=st.booleans(),
        direct=st.booleans(),
    )


@dataclass(frozen=True)
class Drawn:
    """A graph and how to draw circuits in it: the arrays are made in the test, where shapes may be checked."""

    graph: Graph
    seed: int
    density: float

    def circuits(self, n: int) -> list[Circuit]:
        """``n`` circuits of the graph."""
        rng = np.random.default_rng(self.seed)
        return [Circuit(self.graph, rng.random(self.graph.n_edges) < self.density) for _ in range(n)]

    def circuit(self) -> Circuit:
        """One circuit of the graph."""
        return self.circuits(1)[0]


def drawn(layers: int = 3, heads: int = 3) -> st.SearchStrategy[Drawn]:
    """Circuits from nearly empty to nearly full."""
    densities = st.sampled_from([0.05, 0.3, 0.5, 0.8, 0.97])
    return st.builds(Drawn, graphs(layers, heads), st.integers(0, 2**32 - 1), densities)
