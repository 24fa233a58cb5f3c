"""Agreement of a circuit, and of scores, with a circuit that is known to be true."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from circuitgraph.catalog.judgement_record import TruthLevel, TruthRecord
from circuitgraph.evaluation.baselines import check_graph
from circuitgraph.graph.circuit import Circuit
from circuitgraph.graph.graph import Graph


@dataclass(frozen=True)
class EdgeGroups:
    """``n`` groups of edges: pair ``i`` says that ``edge[i]`` is in ``group[i]``."""

    edge: Int[np.ndarray, " pairs"]
    group: Int[np.ndarray, " pairs"]
    n: int

    def contain_any(self, mask: Bool[np.ndarray, " edges"]) -> Bool[np.ndarray, " groups"]:
        """Whether each group has an edge in the mask."""
        in_mask = np.zeros(self.n, bool)
        in_mask[self.group[mask[self.edge]]] = True
        return in_mask

    def find_highest(self, scores: Float[np.ndarray, " edges"]) -> Float[np.ndarray, " groups"]:
        """The highest score in each group."""
        highest = np.full(self.n, -np.inf)
        np.maximum.at(highest, self.group, scores[self.edge])
        return highest


def compare_with_truth(
    circuit: Circuit,
    true: Circuit,
    scores: Float[np.ndarray, " edges"] | None = None,
    *,
    absolute: bool = True,
) -> TruthRecord:
    """ROC AUC of scores, and precision, recall and F1 of a circuit, against a true circuit.

    Counted in edges; in pairs of nodes, where a writer's edges into the q, k and v of one head are
    one and direct edges do not count; and in nodes (heads and MLPs: embedding and logits are part
    of every circuit). A pair or a node is in a circuit if any of its edges is; its score is the
    highest of theirs.

    Args:
        scores: a score for each edge; if None, ROC AUC is left out.
        absolute: rank edges by the size of their scores.

    Raises:
        GraphError: circuits of different graphs, or not one score for each edge.
    """
    check_graph(circuit.graph, true, "The true circuit")
    graph = circuit.graph
    if scores is not None:
        graph.check_per_edge("scores", scores)
        scores = np.abs(scores) if absolute else scores

    def compare(groups: EdgeGroups) -> TruthLevel:
        highest = None if scores is None else groups.find_highest(scores)
        return _count_agreement(
            groups.contain_any(circuit.mask), groups.contain_any(true.mask), highest
        )

    return TruthRecord(
        edges=_count_agreement(circuit.mask, true.mask, scores),
        promoted=compare(_group_by_node_pair(graph)),
        nodes=compare(_group_by_node(graph)),
    )


def compute_roc_auc(scores: Float[np.ndarray, " n"], true: Bool[np.ndarray, " n"]) -> float | None:
    """The chance that a true edge has a higher score than a false one, ties counted half.

    None where nothing is true or everything is. It is computed as the Mann-Whitney U statistic.
    """
    positive, negative = scores[true], scores[~true]
    if not len(positive) or not len(negative):
        return None
    pairs = len(positive) * len(negative)
    from scipy import stats  # takes a second to import

    return float(stats.mannwhitneyu(positive, negative, method="asymptotic").statistic / pairs)


def _count_agreement(
    predicted: Bool[np.ndarray, " n"],
    true: Bool[np.ndarray, " n"],
    scores: Float[np.ndarray, " n"] | None,
) -> TruthLevel:
    hits, n_found, n_true = int((predicted & true).sum()), int(predicted.sum()), int(true.sum())
    return TruthLevel(
        n=len(true),
        n_true=n_true,
        n_found=n_found,
        auroc=None if scores is None else compute_roc_auc(scores, true),
        precision=hits / n_found if n_found else None,
        recall=hits / n_true if n_true else None,
        f1=2 * hits / (n_found + n_true) if n_found + n_true else None,
    )


def _group_by_node_pair(graph: Graph) -> EdgeGroups:
    """Edges by writer and reading node; an edge into a shared input belongs to all its heads."""
    pairs: dict[tuple[int, str], int] = {}
    members = [
        (edge, pairs.setdefault((writer, name), len(pairs)))
        for edge, reader, writer in _list_edges(graph)
        if writer >= 0
        for name in graph.reader_nodes(graph.readers[reader])
    ]
    return _make_groups(members, len(pairs))


def _group_by_node(graph: Graph) -> EdgeGroups:
    """Edges by head or MLP; an edge belongs to its writer and to what reads it."""
    names = {
        writer.name: i for i, writer in enumerate(w for w in graph.writers if w.kind != "embed")
    }
    of_reader = [{names[n] for n in graph.reader_nodes(r) if n in names} for r in graph.readers]
    of_writer = [{names[w.name]} if w.name in names else set() for w in graph.writers]
    members = [
        (edge, node)
        for edge, reader, writer in _list_edges(graph)
        for node in of_reader[reader] | (of_writer[writer] if writer >= 0 else set())
    ]
    return _make_groups(members, len(names))


def _list_edges(graph: Graph) -> list[tuple[int, int, int]]:
    """Number, reader and writer of each edge."""
    dst, src = graph.ends
    return list(zip(range(graph.n_edges), dst.tolist(), src.tolist(), strict=True))


def _make_groups(pairs: list[tuple[int, int]], n: int) -> EdgeGroups:
    edge, group = np.array(pairs, int).reshape(-1, 2).T
    return EdgeGroups(edge, group, n)
