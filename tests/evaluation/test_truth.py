"""Agreement with a true circuit, against plain counting."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from circuitgraph.errors import GraphError
from circuitgraph.evaluation.truth import compare_with_truth, compute_roc_auc
from circuitgraph.graph.circuit import Circuit
from circuitgraph.graph.graph import Graph

GRAPH = Graph(2, 2)


@settings(max_examples=60)
@given(st.lists(st.tuples(st.integers(-3, 3), st.booleans()), min_size=1, max_size=25))
def test_roc_auc_is_the_share_of_pairs_in_the_right_order(sample: list[tuple[int, bool]]) -> None:
    scores, true = np.array([s for s, _ in sample], float), np.array([t for _, t in sample])
    pairs = [(a > b) + (a == b) / 2 for a in scores[true] for b in scores[~true]]
    found = compute_roc_auc(scores, true)
    assert found == (pytest.approx(np.mean(pairs)) if pairs else None)


def test_precision_recall_and_f1_of_edges_by_hand() -> None:
    true = Circuit.of(GRAPH, ["embed->a0.h0<q>", "embed->a0.h0<k>", "a0.h0->m0", "m0->logits"])
    found = Circuit.of(GRAPH, ["embed->a0.h0<q>", "a0.h0->m0", "embed->logits"])
    edges = compare_with_truth(found, true).edges
    assert (edges.n, edges.n_true, edges.n_found) == (GRAPH.n_edges, 4, 3)
    assert (edges.precision, edges.recall, edges.f1) == pytest.approx((2 / 3, 2 / 4, 4 / 7))
    assert edges.auroc is None


def test_promoted_edges_join_nodes_and_nodes_are_heads_and_mlps() -> None:
    true = Circuit.of(GRAPH, ["embed->a0.h0<q>", "embed->a0.h0<k>", "a0.h0->m0", "m0->logits"])
    found = Circuit.of(GRAPH, ["embed->a0.h0<v>", "a0.h0->m0", "a0.h0->logits"])
    record = compare_with_truth(found, true)
    assert (record.edges.precision, record.edges.recall) == pytest.approx((1 / 3, 1 / 4))
    # embed to a0.h0 by whatever input, a0.h0 to m0, m0 to logits
    assert (record.promoted.n_true, record.promoted.n_found) == (3, 3)
    assert (record.promoted.precision, record.promoted.recall) == pytest.approx((2 / 3, 2 / 3))
    assert (record.nodes.n, record.nodes.n_true, record.nodes.n_found) == (6, 2, 2)
    assert (record.nodes.precision, record.nodes.recall) == (1.0, 1.0)
    n_pairs = len(Graph(2, 2).to_networkx().edges)
    assert record.promoted.n == n_pairs


def test_scores_of_pairs_and_nodes_are_the_highest_of_their_edges() -> None:
    true = Circuit.of(GRAPH, ["embed->a0.h0<q>", "a0.h0->logits"])
    scores = np.zeros(GRAPH.n_edges)
    scores[GRAPH.edge_index("embed->a0.h0<k>")] = -3.0  # the wrong input of the right head
    scores[GRAPH.edge_index("a0.h0->logits")] = 1.0
    scores[GRAPH.edge_index("embed->m1")] = 2.0
    scores[GRAPH.edge_index("a1.h0->logits")] = 0.5
    found = compare_with_truth(Circuit.empty(GRAPH), true, scores)
    # edges: 0 (ties with all other zeros) and 1 (below two of the false)
    n = GRAPH.n_edges - 2
    assert found.edges.auroc == pytest.approx(((n - 3) * 0.5 + (n - 2)) / (2 * n))
    # pairs: 3 above all, 1 below embed->m1 alone
    n = found.promoted.n - 2
    assert found.promoted.auroc == pytest.approx((n + n - 1) / (2 * n))
    assert found.nodes.auroc == 1.0
    signed = compare_with_truth(Circuit.empty(GRAPH), true, scores, absolute=False)
    assert signed.nodes.auroc == pytest.approx(4 / 5), "without its -3 the head is below m1"


def test_what_is_not_defined_is_none() -> None:
    scores = np.arange(float(GRAPH.n_edges))
    nothing, everything = Circuit.empty(GRAPH), Circuit.full(GRAPH)
    for true in (nothing, everything):
        found = compare_with_truth(nothing, true, scores)
        assert [level.auroc for level in (found.edges, found.promoted, found.nodes)] == [None] * 3
    none = compare_with_truth(nothing, nothing).edges
    assert (none.precision, none.recall, none.f1) == (None, None, None)
    missed = compare_with_truth(nothing, everything).edges
    assert (missed.precision, missed.recall, missed.f1) == (None, 0, 0)


def test_shared_inputs_belong_to_every_head_of_their_group() -> None:
    graph = Graph(1, 4, mlp=False, n_kv_heads=2)
    true = Circuit.of(graph, ["embed->a0.kv1<k>"])
    found = compare_with_truth(Circuit.of(graph, ["embed->a0.h2<q>"]), true)
    assert (found.promoted.n_true, found.promoted.n_found) == (2, 1)
    assert (found.promoted.precision, found.promoted.recall) == (1.0, 0.5)
    assert (found.nodes.n_true, found.nodes.n_found) == (2, 1)


def test_direct_edges_count_as_edges_but_join_no_nodes() -> None:
    graph = Graph(1, 2, mlp=False, direct=True)
    direct = Circuit.of(graph, [edge for edge in graph.edges if edge.startswith("a0.h0<")])
    assert len(direct) == 3
    found = compare_with_truth(direct, direct, np.ones(graph.n_edges))
    assert (found.edges.n_true, found.edges.auroc) == (3, 0.5)
    assert (found.promoted.n_true, found.nodes.n_true) == (0, 1)


def test_a_truth_of_another_graph_is_refused() -> None:
    with pytest.raises(
        GraphError, match=r"The true circuit is of .*n_layers=1.*but the model has .*n_layers=2"
    ):
        compare_with_truth(Circuit.full(GRAPH), Circuit.full(Graph(1, 2)))
    with pytest.raises(GraphError, match="scores has shape"):
        compare_with_truth(Circuit.full(GRAPH), Circuit.full(GRAPH), np.ones(3))
