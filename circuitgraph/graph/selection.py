"""Circuits that grow from the logits: edges chosen by score among those that can matter."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Iterator

import numpy as np
from jaxtyping import Bool, Float

from circuitgraph.errors import GraphError, check_finite
from circuitgraph.graph.circuit import Circuit, check_edge_count, compute_strengths
from circuitgraph.graph.graph import Graph


def select_greedy(
    graph: Graph,
    scores: Float[np.ndarray, " edges"],
    n: int,
    *,
    absolute: bool = True,
    free: Bool[np.ndarray, " edges"] | None = None,
) -> Circuit:
    """``n`` edges, taken one by one: each the strongest into a node connected to the logits.

    A node is connected once an edge that starts at it is taken; all its inputs are open then. Under
    a post-norm the heads of a layer are connected together. Ties go to the edge numbered first.
    This is the greedy search of Hanna et al. (2024): from every edge a path leads to the logits,
    but a node may have no input yet, which `Circuit.pruned` sees to.

    Args:
        free: the edges that are taken and counted; all if None. The walk leads through others too,
            but never through an edge of strength minus infinity.

    Raises:
        GraphError: a graph with direct edges, which are no choice of their own.
        ArgumentError: more edges than there are, or scores that are NaN.
    """
    check_edge_count(graph, n)
    mask = np.zeros(graph.n_edges, bool)
    mask[
        list(
            itertools.islice(
                _walk_from_logits(graph, compute_strengths(graph, scores, absolute), free), n
            )
        )
    ] = True
    return Circuit(graph, mask, scores)


def select_greedy_above(
    graph: Graph,
    scores: Float[np.ndarray, " edges"],
    threshold: float,
    *,
    absolute: bool = True,
    free: Bool[np.ndarray, " edges"] | None = None,
) -> Circuit:
    """As `select_greedy`, all edges whose (absolute) score is at least ``threshold``.

    Raises:
        GraphError, ArgumentError: as `select_greedy`; or a threshold that is no number.
    """
    check_finite("threshold", threshold)
    size, mask = compute_strengths(graph, scores, absolute), np.zeros(graph.n_edges, bool)
    mask[
        list(
            itertools.takewhile(
                lambda edge: size[edge] >= threshold, _walk_from_logits(graph, size, free)
            )
        )
    ] = True
    return Circuit(graph, mask, scores)


def _walk_from_logits(
    graph: Graph, size: Float[np.ndarray, " edges"], free: Bool[np.ndarray, " edges"] | None
) -> Iterator[int]:
    """The free edges in the order in which a greedy search takes them."""
    if graph.direct:
        raise GraphError(
            "Greedy selection works on graphs without direct edges: use Circuit.top or "
            "Circuit.above."
        )
    dst, src = graph.ends
    into = [np.flatnonzero(dst == r).tolist() for r in range(len(graph.readers))]
    # the readers that open once an edge from a writer is taken
    moving: list[list[int]] = [[] for _ in graph.writers]
    for number, reader in enumerate(graph.readers):
        for writer in graph.moved_by(reader):
            moving[writer].append(number)
    # smallest first: the strongest edge, and of equal ones the edge numbered first
    candidates = [(-float(size[edge]), edge) for edge in into[-1]]
    heapq.heapify(candidates)
    opened = {len(graph.readers) - 1}
    while candidates:
        _, taken = heapq.heappop(candidates)
        if size[taken] == -np.inf:
            return
        if free is None or free[taken]:
            yield taken
        for reader in moving[src[taken]]:
            if reader not in opened:
                opened.add(reader)
                for edge in into[reader]:
                    heapq.heappush(candidates, (-float(size[edge]), edge))


def select_edges_among(graph: Graph, chosen: Bool[np.ndarray, " writers"]) -> Circuit:
    """All edges between the chosen nodes; the logits are always one of them.

    An input that several heads share belongs to the chosen nodes if one of those heads does.
    """
    dst, src = graph.ends
    reader_chosen = np.array(
        [not r.feeds or bool(chosen[list(r.feeds)].any()) for r in graph.readers]
    )
    return Circuit(graph, reader_chosen[dst] & ((src < 0) | chosen[src]))


def rank_edges(circuit: Circuit) -> Float[np.ndarray, " edges"]:
    """Scores that order a circuit's edges: kept before removed before never tested.

    ACDC measures an edge's effect at the moment of its test, when other edges are gone already, so
    that effects of a kept and of a removed edge cannot be compared; the decisions can. The kept
    edges are ordered by their effects, and so are the removed ones. Edges that were never tested
    (ACDC removes edges into dead nodes unseen) come last, all alike, unless they were kept.

    Returns:
        From 2 to 3 for kept edges, from 1 to 2 for removed ones, 0 for the others; equal effects
        have equal scores. No score is negative, so that signed and absolute selection agree.
        Without effects, 2 where kept and else 0.
    """
    n_edges, has_effects = len(circuit.mask), circuit.scores is not None
    effects = np.zeros(n_edges) if circuit.scores is None else circuit.scores
    tested = np.full(n_edges, has_effects) if circuit.tested is None else circuit.tested
    scores = np.zeros(n_edges)
    for group, base in ((circuit.mask, 2.0), (tested & ~circuit.mask, 1.0)):
        _, ranks = np.unique(effects[group], return_inverse=True)
        scores[group] = base + ranks / max(1, group.sum())
    return scores
