"""Circuits chosen by score or by chance, and values per edge as vectors and as matrices."""

from __future__ import annotations

import itertools
import re
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from circuitgraph.errors import ArgumentError, GraphError
from circuitgraph.graph.circuit import Circuit
from circuitgraph.graph.graph import Graph

GRAPH = Graph(1, 2)  # 13 edges
N = GRAPH.n_edges
DIRECT = Graph(1, 2, direct=True)
# few different values, so that ties are common; infinities can be ranked
scores_of = arrays.arrays(
    np.float64, N, elements=st.sampled_from([-np.inf, -2.0, -1.0, -0.0, 0.0, 1.0, 2.0, np.inf])
)


@given(scores_of, st.integers(0, N), st.booleans())
def test_top_n_is_a_sort_by_score_then_by_number(
    scores: np.ndarray, n: int, absolute: bool
) -> None:
    strength = [abs(s) if absolute else s for s in scores.tolist()]
    expected = sorted(range(N), key=lambda i: (-strength[i], i))[:n]
    circuit = Circuit.top(GRAPH, scores, n, absolute=absolute)
    assert np.flatnonzero(circuit.mask).tolist() == sorted(expected)
    assert circuit.scores is scores


@given(scores_of, st.sampled_from([-2.0, -0.5, 0.0, 1.0, 1.5, 3.0]), st.booleans())
def test_threshold_keeps_what_reaches_it(
    scores: np.ndarray, threshold: float, absolute: bool
) -> None:
    circuit = Circuit.above(GRAPH, scores, threshold, absolute=absolute)
    expected = [
        edge
        for edge, s in zip(GRAPH.edges, scores, strict=True)
        if (abs(s) if absolute else s) >= threshold
    ]
    assert circuit.edges == expected


def test_top_circuits_of_growing_size_are_nested() -> None:
    scores = np.random.default_rng(0).normal(size=N).round(1)
    chain = [Circuit.top(GRAPH, scores, n) for n in range(N + 1)]
    assert [len(circuit) for circuit in chain] == list(range(N + 1))
    assert all(small <= large for small, large in itertools.pairwise(chain))


def test_signed_and_absolute_selection_differ() -> None:
    scores = np.zeros(N)
    scores[3], scores[5] = -5.0, 1.0
    assert Circuit.top(GRAPH, scores, 1).edges == [GRAPH.edges[3]]
    assert Circuit.top(GRAPH, scores, 1, absolute=False).edges == [GRAPH.edges[5]]
    assert Circuit.above(GRAPH, scores, 0.5).edges == [GRAPH.edges[3], GRAPH.edges[5]]
    assert Circuit.above(GRAPH, scores, 0.5, absolute=False).edges == [GRAPH.edges[5]]


def test_nan_scores_are_counted_and_refused() -> None:
    scores = np.ones(N)
    scores[[2, 7]] = np.nan
    with pytest.raises(ArgumentError, match=f"2 of {N} scores are NaN"):
        Circuit.top(GRAPH, scores, 3)
    with pytest.raises(ArgumentError, match=f"2 of {N} scores are NaN"):
        Circuit.above(GRAPH, scores, 0.1)


@pytest.mark.parametrize("threshold", [np.nan, np.inf, -np.inf])
def test_thresholds_that_are_no_numbers_are_refused(threshold: float) -> None:
    with pytest.raises(
        ArgumentError, match=f"threshold is {threshold}, but must be a finite number"
    ):
        Circuit.above(GRAPH, np.ones(N), threshold)


@pytest.mark.parametrize(
    ("n", "message"), [(-1, "is -1, but must be at least 0"), (N + 1, f"is {N + 1}, but .* {N}")]
)
def test_sizes_out_of_range_are_refused(n: int, message: str) -> None:
    with pytest.raises(ArgumentError, match=f"the number of edges {message}"):
        Circuit.top(GRAPH, np.ones(N), n)
    with pytest.raises(ArgumentError, match=f"the number of edges {message}"):
        Circuit.random(GRAPH, n, np.random.default_rng(0))


def test_random_circuits_have_the_size_asked_for_and_use_every_edge() -> None:
    rng = np.random.default_rng(0)
    drawn = [Circuit.random(GRAPH, 5, rng) for _ in range(400)]
    assert {len(circuit) for circuit in drawn} == {5}
    share = np.mean([circuit.mask for circuit in drawn], axis=0)
    np.testing.assert_allclose(share, 5 / N, atol=0.1)  # four standard errors
    assert Circuit.random(GRAPH, 5, np.random.default_rng(1)) == Circuit.random(
        GRAPH, 5, np.random.default_rng(1)
    )
    assert Circuit.random(GRAPH, N, rng) == Circuit.full(GRAPH)


@pytest.mark.parametrize("n", [0, 1, N - 1, N + 1])
@pytest.mark.parametrize("graph", [GRAPH, DIRECT], ids=["plain", "direct"])
def test_vectors_of_a_wrong_length_are_refused(graph: Graph, n: int) -> None:
    expected = re.escape(f"has shape ({n},), but the graph has {graph.n_edges} edges")
    with pytest.raises(GraphError, match=f"scores {expected}"):
        Circuit.top(graph, np.ones(n), 1)
    with pytest.raises(GraphError, match=f"scores {expected}"):
        Circuit.above(graph, np.ones(n), 0.5)
    with pytest.raises(GraphError, match=f"mask {expected}"):
        Circuit(graph, np.ones(n, bool))


WITHOUT_SHAPE_CHECKS = """
import numpy as np
from circuitgraph.errors import GraphError
from circuitgraph.graph.circuit import Circuit
from circuitgraph.graph.graph import Graph

graph = Graph(1, 2)
kept = np.ones(graph.n_edges, bool)
integers, fewer, more = kept.astype(int), np.ones(12), np.ones(14)
for arrays in [(integers,), (kept, fewer), (kept, more), (kept, None, kept[1:])]:
    try:
        Circuit(graph, *arrays)
    except GraphError as error:
        print(error)
"""


def test_arrays_that_do_not_belong_together_are_refused_without_shape_checks_too() -> None:
    """As users run it. ``~`` of an integer mask is -1 and -2, which would count as kept."""
    out = subprocess.run(
        [sys.executable, "-c", WITHOUT_SHAPE_CHECKS], capture_output=True, text=True, check=True
    )
    assert out.stdout.splitlines() == [
        "mask has the type int64, but must be bool: True where an edge is kept.",
        *(
            f"{name} has shape ({n},), but the graph has 13 edges: expected shape (13,)."
            for name, n in [("scores", 12), ("scores", 14), ("tested", 12)]
        ),
    ]


def test_the_effect_of_an_edge_is_its_score_where_that_was_measured() -> None:
    mask, scores = np.ones(N, bool), np.arange(N, dtype=float)
    tested = scores > 0
    assert Circuit(GRAPH, mask).effect_of(1) is None
    assert Circuit(GRAPH, mask, scores).effect_of(0) == 0.0
    some = Circuit(GRAPH, mask, scores, tested)
    assert [some.effect_of(edge) for edge in (0, 1, 2)] == [None, 1.0, 2.0]
