"""Certainty about edges: frequencies, kinds and overlaps of repeated searches, counted by loops."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from circuitgraph.catalog.certainty_record import RepeatedSearchRecord
from circuitgraph.errors import ArgumentError
from circuitgraph.evaluation.certainty import (
    check_cuts,
    classify_frequency,
    compare_along,
    estimate_chance,
    rate_edges,
)
from circuitgraph.evaluation.intervals import estimate_proportion
from circuitgraph.graph.circuit import Circuit
from circuitgraph.graph.graph import Graph

GRAPH = Graph(1, 2, mlp=False)
CELLS = list(product(range(6), ("kl", "accuracy"), (0.5, 1.0)))


def draw_circuits() -> tuple[list[RepeatedSearchRecord], list[Circuit]]:
    rng = np.random.default_rng(0)
    shares = np.linspace(0, 1, GRAPH.n_edges)  # the first edge is never kept, the last one always
    circuits = [Circuit(GRAPH, rng.random(GRAPH.n_edges) < shares) for _ in CELLS]
    searches = [
        RepeatedSearchRecord(metric=m, factor=f, sample=s, n_edges=len(c))
        for (s, m, f), c in zip(CELLS, circuits, strict=True)
    ]
    return searches, circuits


def test_frequencies_are_those_of_a_plain_count() -> None:
    searches, circuits = draw_circuits()
    stored = Circuit.of(GRAPH, [GRAPH.edges[0], GRAPH.edges[-1]])
    rated = rate_edges(searches, circuits, stored, core=0.9, noise=0.1, seed=0)
    assert rated[0].edge == GRAPH.edges[-1]
    assert {edge.edge for edge in rated} == {e for c in [stored, *circuits] for e in c}
    for edge in rated:
        kept = [edge.edge in circuit for circuit in circuits]
        assert edge.frequency.mean == pytest.approx(sum(kept) / len(kept))
        assert edge.runs == "".join(str(int(one)) for one in kept)
        assert edge.in_circuit == (edge.edge in stored)
        assert 0 <= edge.frequency.low <= edge.frequency.mean <= edge.frequency.high <= 1
    assert rated[-1].edge == GRAPH.edges[0]
    assert [rated[0].kind, rated[-1].kind] == ["core", "noise"]


def test_an_edge_of_all_searches_has_the_interval_of_its_samples_not_of_its_searches() -> None:
    """24 searches of 6 samples say no more about other prompts than 6 samples do."""
    searches, circuits = draw_circuits()
    rated = rate_edges(searches, circuits, circuits[0], core=0.9, noise=0.1, seed=0)
    assert rated[0].frequency == estimate_proportion(6, 6)


@pytest.mark.parametrize("axis", ["metric", "factor", "sample"])
def test_overlaps_along_an_axis_are_those_of_pairs_that_differ_in_it_alone(axis: str) -> None:
    searches, circuits = draw_circuits()
    others = {"metric", "factor", "sample"} - {axis}
    values = [
        len(set(circuits[i]) & set(circuits[j])) / len(set(circuits[i]) | set(circuits[j]))
        for i, j in product(range(len(circuits)), repeat=2)
        if i < j and all(getattr(searches[i], o) == getattr(searches[j], o) for o in others)
    ]
    overlap = compare_along(axis, searches, circuits)
    assert overlap is not None
    assert overlap.mean == pytest.approx(np.mean(values))


def test_nothing_to_compare_along_an_axis_of_one_value() -> None:
    searches, circuits = draw_circuits()
    alone = [i for i, search in enumerate(searches) if search.metric == "kl"]
    picked = [searches[i] for i in alone], [circuits[i] for i in alone]
    assert compare_along("metric", *picked) is None


def test_cuts_and_kinds() -> None:
    frequencies = (0.0, 0.1, 0.11, 0.89, 0.9, 1.0)
    kinds = [classify_frequency(each, 0.9, 0.1) for each in frequencies]
    assert kinds == ["noise", "noise", "contingent", "contingent", "core", "core"]
    with pytest.raises(ArgumentError, match=r"core is 0.1 and noise is 0.9, but both must be"):
        check_cuts(0.1, 0.9)
    assert estimate_chance([Circuit.full(GRAPH), Circuit.empty(GRAPH)]) == 0.5
