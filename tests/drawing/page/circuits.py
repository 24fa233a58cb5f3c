"""Small circuits for pages, and strings that would do harm as markup."""

from __future__ import annotations

import numpy as np

from circuitgraph.drawing.page.entry import PageCircuit, make_entry
from circuitgraph.graph.circuit import Circuit
from circuitgraph.graph.graph import Graph

HOSTILE = (
    "<script>window.harm=1</script>",
    "</script><img src=x onerror=window.harm=1>",
    "\"'`${window.harm=1}`&lt;",
    "two\nlines\r\u2028",
    "\u202eright to left \u05d0\u05d1\u05d2",
    "\U0001f600\u200d\U0001f525",
    "\x1b[31mred\x07\x00",
    "[bold]*markup* | `cell` [/bold]",
    "{{data}} ]]> -->",
)


def draw_circuit(graph: Graph, n_edges: int, seed: int) -> Circuit:
    """Random edges with random effects of both signs, no two alike."""
    rng = np.random.default_rng(seed)
    scores = rng.normal(size=graph.n_edges)
    return Circuit(graph, Circuit.random(graph, n_edges, rng).mask, scores)


def draw_entry(graph: Graph, n_edges: int, seed: int = 0, name: str = "mine") -> PageCircuit:
    """The same, as a page takes it."""
    return make_entry(draw_circuit(graph, n_edges, seed), name)
