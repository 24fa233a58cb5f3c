"""Agreement of a circuit, and of scores, with a circuit that is known to be true."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy import stats

from circuitgraph.catalog.judgement import TruthLevel, TruthRecord
from circuitgraph.evaluation.ends import check_graph
from circuitgraph.evaluation.nodes import targets
from circuitgraph.graph.circuit import Circuit
from circuitgraph.graph.graph import Graph


@dataclass(frozen=True)
class Members:
    """Which edges belong to which groups: pair ``i`` says that ``edge[i]`` is in ``group[i]``."""

    edge: Int[np.ndarray, " pairs"]
    group: Int[np.ndarray, " pairs"]
    n: int

    def any(self, mask: Bool[np.ndarray, " edges"]) -> Bool[np.ndarray, " groups"]:
        """Whether a group has an edge in the mask."""
        found = np.zeros(self.n, bool)
        found[self.group[mask[self.edge]]] = True
        return found

    def strongest(self, scores: Float[np.ndarray, " edges"]) -> Float[np.ndarray, " groups"]:
        """The highest score in each group."""
        found = np.full(self.n, -np.inf)
        np.maximum.at(found, self.group, scores[self.edge])
        return found


def truth(
    circuit: Circuit,
    true: Circuit,
    scores: Float[np.ndarray, " edges"] | None = None,
    *,
    absolute: bool = True,
) -> TruthRecord:
    """ROC AUC of scores, and precision, recall and F1 of a circuit, against a true circuit of the
    same graph.

    Counted in edges; in pairs of nodes, where a writer's edges into the q, k and v of one head are
    one and direct edges do not count; and in nodes (heads and MLPs: embedding and logits are part
    of every circuit). A pair or a node is in a circuit if any of its edges is; its score is the
    highest of theirs.

    Args:
        scores: of each edge; None: no ROC AUC.
        absolute: rank by the size of scores.

    Raises:
        GraphError: circuits of different graphs, or not one score for each edge.
    """
    check_graph(circuit.graph, true, "The true circuit")
    graph = circuit.graph
    if scores is not None:
        graph.check_per_edge("scores", scores)
        scores = np.abs(scores) if absolute else scores
    levels = {"promoted": _promoted(graph), "nodes": _nodes(graph)}
    return TruthRecord(
        edges=_level(circuit.mask, true.mask, scores),
        **{
            name: _level(
                m.any(circuit.mask),
                m.any(true.mask),
                None if scores is None else m.strongest(scores),
            )
            for name, m in levels.items()
        },
    )


def roc_auc(scores: Float[np.ndarray, " n"], true: Bool[np.ndarray, " n"]) -> float | None:
    """The chance that a true one has a higher score than a false one, ties counted half
    (Mann-Whitney U).

    None where nothing is true or everything is.
    """
    positive, negative = scores[true], scores[~true]
    if not len(positive) or not len(negative):
        return None
    pairs = len(positive) * len(negative)
    return float(stats.mannwhitneyu(positive, negative, method="asymptotic").statistic / pairs)


def _level(
    found: Bool[np.ndarray, " n"],
    true: Bool[np.ndarray, " n"],
    scores: Float[np.ndarray, " n"] | None,
) -> TruthLevel:
    hits, n_found, n_true = int((found & true).sum()), int(found.sum()), int(true.sum())
    return TruthLevel(
        n=len(true),
        n_true=n_true,
        n_found=n_found,
        auroc=None if scores is None else roc_auc(scores, true),
        precision=hits / n_found if n_found else None,
        recall=hits / n_true if n_true else None,
        f1=2 * hits / (n_found + n_true) if n_found + n_true else None,
    )


def _promoted(graph: Graph) -> Members:
    """Edges by writer and node that reads; one of a shared input belongs to all heads that share
    it.
    """
    pairs: dict[tuple[int, str], int] = {}
    member = [
        (edge, pairs.setdefault((writer, name), len(pairs)))
        for edge, reader, writer in _ends(graph)
        if writer >= 0
        for name in targets(graph, graph.readers[reader])
    ]
    return _members(member, len(pairs))


def _nodes(graph: Graph) -> Members:
    """Edges by head or MLP; an edge belongs to its writer and to what reads it."""
    names = {
        writer.name: i for i, writer in enumerate(w for w in graph.writers if w.kind != "embed")
    }
    reading = [{names[name] for name in targets(graph, r) if name in names} for r in graph.readers]
    writing = [{names[w.name]} if w.name in names else set() for w in graph.writers]
    member = [
        (edge, node)
        for edge, reader, writer in _ends(graph)
        for node in reading[reader] | (writing[writer] if writer >= 0 else set())
    ]
    return _members(member, len(names))


def _ends(graph: Graph) -> list[tuple[int, int, int]]:
    """Number, reader and writer of each edge."""
    dst, src = graph.ends
    return list(zip(range(graph.n_edges), dst.tolist(), src.tolist(), strict=True))


def _members(pairs: list[tuple[int, int]], n: int) -> Members:
    edge, group = np.array(pairs, int).reshape(-1, 2).T
    return Members(edge, group, n)
