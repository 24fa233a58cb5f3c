"""Which kept edges lie on a path to the logits, and which readers are still of use."""

from __future__ import annotations

import networkx as nx
import numpy as np
from jaxtyping import Bool

from circuitgraph.graph.graph import Graph


def find_path_edges(graph: Graph, mask: Bool[np.ndarray, " edges"]) -> Bool[np.ndarray, " edges"]:
    """The kept edges that a path from a source to the logits runs through.

    Sources are the writers that no reader feeds: the embedding. A path enters a head by its q, k or
    v (in the direct convention only where that direct edge is kept) and an MLP by its input. Under
    a post-norm what enters one head enters all heads of its layer.
    """
    flow = _build_flow(graph, mask)
    sources = {("w", index) for index in graph.source_writers}
    # a useful node comes after a source and before the logits
    forward = sources.union(*(nx.descendants(flow, source) for source in sources))
    last = ("r", len(graph.readers) - 1)
    backward = nx.ancestors(flow, last) | {last}
    useful = forward & backward
    dst, src = graph.ends
    useful_reader = np.array([("r", i) in useful for i in range(len(graph.readers))])
    useful_writer = np.array([("w", i) in useful for i in range(len(graph.writers))])
    return mask & useful_reader[dst] & np.where(src >= 0, useful_writer[src], True)


def _build_flow(graph: Graph, mask: Bool[np.ndarray, " edges"]) -> nx.DiGraph:
    """Writers -> readers along kept edges, readers -> the writer they feed."""
    dst, src = graph.ends
    kept = mask & (src >= 0)
    flow = nx.DiGraph()
    flow.add_nodes_from(("w", i) for i in range(len(graph.writers)))
    flow.add_nodes_from(("r", i) for i in range(len(graph.readers)))
    flow.add_edges_from(
        (("w", s), ("r", d)) for d, s in zip(dst[kept].tolist(), src[kept].tolist(), strict=True)
    )
    # a head does not use an input whose direct edge is gone
    cut = set(dst[(src < 0) & ~mask].tolist())
    flow.add_edges_from(
        (("r", i), ("w", moved))
        for i, r in enumerate(graph.readers)
        if i not in cut
        for moved in graph.moved_by(r)
    )
    return flow


def find_live_edges(graph: Graph, mask: Bool[np.ndarray, " edges"]) -> Bool[np.ndarray, " edges"]:
    """Edges whose reader's node still feeds something: ACDC removes the others untested.

    Under a post-norm a head lives as long as any head of its layer feeds something: it is part of
    their divisor. A q, k or v counts as dead too when its direct edge is gone, as in the reference
    implementation of ACDC.
    """
    dst, src = graph.ends
    ordinary = src >= 0
    feeding = np.zeros(len(graph.writers), bool)
    feeding[src[mask & ordinary]] = True
    # the logits feed nothing and are always of use
    moved = (list(graph.moved_by(reader)) for reader in graph.readers)
    node_live = np.array([feeding[writers].any() if writers else True for writers in moved])
    reader_live = node_live.copy()
    reader_live[dst[~ordinary & ~mask]] = False
    if not graph.direct:
        return reader_live[dst]
    return np.where(ordinary, reader_live[dst], node_live[dst])
