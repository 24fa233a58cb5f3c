"""Edges seen as belonging to nodes: what one node reads and writes, and which nodes an edge joins."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool

from circuitgraph.graph.graph import Graph, Reader


def targets(graph: Graph, reader: Reader) -> list[str]:
    """The nodes that an input belongs to: its head, all heads that share it, its MLP, or the
    logits.
    """
    return [graph.writers[fed].name for fed in reader.feeds] or [reader.name]


def edges_of(graph: Graph, node: str) -> Bool[np.ndarray, " edges"]:
    """The edges into and out of a node; those of an input that it shares with other heads are among
    them.
    """
    dst, src = graph.ends
    reads = np.array([node in targets(graph, reader) for reader in graph.readers])[dst]
    writers = [writer.name for writer in graph.writers]
    return reads | (src == writers.index(node)) if node in writers else reads
