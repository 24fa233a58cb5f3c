"""Completeness: what the circuit left out shows when a part of what it kept is knocked out."""

from __future__ import annotations

import numpy as np
import pytest

from circuitgraph.errors import GraphError
from circuitgraph.evaluation.completeness import (
    SHARES,
    count_masks,
    find_node_edges,
    measure_completeness,
)
from circuitgraph.graph.circuit import Circuit
from circuitgraph.graph.graph import Graph
from tests.evaluation.fake import Formula, having, linear

GRAPH = Graph(2, 2, mlp=False)


def approximately(value: float):
    return pytest.approx(value, abs=1e-5)


def test_where_edges_add_up_every_knockout_shows_just_what_the_circuit_lacks() -> None:
    rng = np.random.default_rng(0)
    weights = np.repeat(rng.uniform(0.5, 1, (GRAPH.n_edges, 1)), 6, axis=1)
    circuit = Circuit.random(GRAPH, 12, rng)
    lacking = weights[~circuit.mask, 0].sum() / weights[:, 0].sum()
    found = measure_completeness(linear(GRAPH, weights, base=-3), circuit, seed=0)
    assert found.worst is not None
    assert found.random is not None
    for interval in (found.worst.incompleteness, found.random):
        assert (interval.mean, interval.low, interval.high) == tuple(
            map(approximately, (lacking,) * 3)
        )
    assert found.nodes == {name: approximately(lacking) for name in circuit.nodes}
    assert found.worst.model.mean - found.worst.circuit.mean == approximately(
        weights[~circuit.mask, 0].sum()
    )
    assert set(found.worst.edges) <= set(circuit.edges)


def backup(*kept: str, spare: str) -> Formula:
    """One where any of the edges is there."""

    def values(masks: np.ndarray) -> np.ndarray:
        any_kept = np.any([having(GRAPH, masks, e) for e in (*kept, spare)], axis=0)
        return np.repeat(any_kept[:, None], 4, axis=1)

    return Formula(GRAPH, 4, values)


def test_a_backup_that_was_left_out_is_found_although_the_circuit_is_faithful() -> None:
    edge = "a0.h0->a1.h0<q>"
    found = measure_completeness(
        backup(edge, spare="a0.h1->a1.h1<k>"), Circuit.of(GRAPH, [edge]), seed=0
    )
    assert found.worst is not None
    assert found.random is not None
    assert (found.worst.incompleteness.mean, found.random.mean) == (1, 1)
    assert (found.worst.circuit.mean, found.worst.model.mean) == (0, 1)
    assert found.nodes == {"a0.h0": 1, "a1.h0": 1}
    assert found.worst.edges == [edge]


def test_greedy_search_knocks_out_two_nodes_where_one_does_no_harm() -> None:
    edges = ["a0.h0->a1.h0<q>", "a0.h1->a1.h1<q>"]
    experiment = backup(*edges, spare="embed->a1.h1<k>")
    circuit = Circuit.of(GRAPH, edges)
    alone, pairs = (
        measure_completeness(experiment, circuit, seed=0, n_greedy=n, n_random=1) for n in (1, 2)
    )
    assert alone.worst is not None
    assert pairs.worst is not None
    assert alone.worst.incompleteness.mean == 0
    assert pairs.worst.incompleteness.mean == 1
    assert pairs.worst.kind == "nodes"
    assert len(pairs.worst.nodes) == 2
    assert pairs.worst.edges == edges
    assert (alone.n_sets, pairs.n_sets) == (1 + 4, 1 + 4 + 3)


def test_number_of_masks_is_an_upper_bound_and_launches_are_not_exceeded() -> None:
    experiment = linear(GRAPH, np.random.default_rng(0).normal(size=(GRAPH.n_edges, 5)))
    circuit = Circuit.random(GRAPH, 9, np.random.default_rng(1))
    measure_completeness(experiment, circuit, seed=0)
    assert 0 < sum(experiment.asked) <= count_masks(circuit)
    assert max(experiment.asked) <= experiment.sizes.masks


def test_random_parts_have_all_sizes_and_follow_the_seed() -> None:
    experiment = linear(GRAPH, np.random.default_rng(0).normal(size=(GRAPH.n_edges, 5)))
    full = Circuit.full(GRAPH)
    assert measure_completeness(experiment, full, seed=3) == measure_completeness(
        experiment, full, seed=3
    )
    seen: list[np.ndarray] = []
    spy = Formula(
        GRAPH, 5, lambda masks: seen.extend(masks) or np.arange(5.0) + masks.sum(axis=1)[:, None]
    )
    measure_completeness(spy, full, seed=0, n_random=8, n_greedy=1)
    sizes = {int((~mask).sum()) for mask in seen[2 : 2 + 16]}
    assert sizes == {round(share * GRAPH.n_edges) for share in SHARES}


def test_edges_of_a_node_are_what_it_reads_and_what_it_writes() -> None:
    found = [GRAPH.edges[i] for i in np.flatnonzero(find_node_edges(GRAPH, "a0.h1"))]
    reads = [f"embed->a0.h1<{i}>" for i in "qkv"]
    assert sorted(found) == sorted(
        [*reads, *(f"a0.h1->a1.h{h}<{i}>" for h in (0, 1) for i in "qkv"), "a0.h1->logits"]
    )
    assert {
        GRAPH.edges[i].split("->")[1] for i in np.flatnonzero(find_node_edges(GRAPH, "logits"))
    } == {"logits"}
    assert find_node_edges(GRAPH, "embed").sum() == 13


def test_nothing_to_knock_out_or_to_compare_with() -> None:
    same = Formula(GRAPH, 3, lambda masks: np.ones((len(masks), 3)))
    experiment = linear(GRAPH, np.ones((GRAPH.n_edges, 3)))
    for found in (
        measure_completeness(same, Circuit.full(GRAPH), seed=0),
        measure_completeness(experiment, Circuit.empty(GRAPH), seed=0),
    ):
        assert (found.worst, found.random, found.nodes) == (None, None, {})


def test_a_circuit_of_another_graph_is_refused() -> None:
    experiment = linear(GRAPH, np.ones((GRAPH.n_edges, 3)))
    with pytest.raises(
        GraphError, match=r"n_layers=1.*but the model has.*n_layers=2.*Name the model"
    ):
        measure_completeness(experiment, Circuit.full(Graph(1, 1)), seed=0)
