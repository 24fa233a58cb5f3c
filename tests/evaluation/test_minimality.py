"""Minimality: the edge that a circuit misses least decides."""

from __future__ import annotations

import numpy as np
import pytest

from circuitgraph.evaluation.minimality import count_masks, measure_minimality
from circuitgraph.graph.circuit import Circuit
from circuitgraph.graph.graph import Graph
from tests.evaluation.fake import Formula, having, linear, weights_of

GRAPH = Graph(1, 2, mlp=False)
EDGES = ["embed->a0.h0<q>", "embed->a0.h1<v>", "a0.h1->logits", "embed->logits"]


def test_effects_are_the_weights_as_shares() -> None:
    experiment = linear(
        GRAPH, weights_of(GRAPH, dict(zip(EDGES, (0.5, -0.1, 0.2, 0.4), strict=True))), base=2
    )
    circuit = Circuit.of(GRAPH, EDGES)
    found = measure_minimality(experiment, circuit, seed=0)
    assert found.least is not None
    assert found.least.edge == "embed->a0.h1<v>"
    effect = found.least.effect
    assert (effect.mean, effect.low, effect.high) == pytest.approx((-0.1, -0.1, -0.1), abs=1e-5)
    assert (found.n_edges, found.unneeded) == (4, [])
    assert sum(experiment.asked) == count_masks(circuit) == 7


def test_the_sign_is_that_of_what_the_behaviour_gains_by_the_edge_whatever_is_better() -> None:
    """For a metric such as KL the whole model has less than nothing has."""
    experiment = linear(GRAPH, -weights_of(GRAPH, {EDGES[0]: 0.75, EDGES[1]: 0.25}), base=1)
    found = measure_minimality(experiment, Circuit.of(GRAPH, EDGES[:2]), seed=0)
    assert found.least is not None
    assert (found.least.edge, found.least.effect.mean) == (EDGES[1], pytest.approx(0.25))


def test_edges_whose_effect_could_be_none_are_named() -> None:
    rng = np.random.default_rng(0)
    weights = weights_of(GRAPH, dict.fromkeys(EDGES, 1.0), n_prompts=400)
    noisy, weak = GRAPH.edge_index(EDGES[1]), GRAPH.edge_index(EDGES[2])
    weights[noisy] = rng.normal(0, 0.5, 400)
    weights[noisy] -= weights[noisy].mean()
    weights[weak] = 0.2 + 0.1 * rng.normal(
        size=400
    )  # little, but certain: 0.2 with a standard error of 0.005
    weights[GRAPH.edge_index(EDGES[3])] = 0
    found = measure_minimality(linear(GRAPH, weights), Circuit.of(GRAPH, EDGES), seed=0)
    assert found.unneeded == [GRAPH.edges[i] for i in sorted((noisy, GRAPH.edge_index(EDGES[3])))]


def test_edges_that_stand_in_for_each_other_are_both_unneeded() -> None:
    either = lambda masks: having(GRAPH, masks, EDGES[0]) | having(GRAPH, masks, EDGES[1])  # noqa: E731
    experiment = Formula(GRAPH, 3, lambda masks: np.repeat(either(masks)[:, None], 3, axis=1))
    found = measure_minimality(experiment, Circuit.of(GRAPH, EDGES[:2]), seed=0)
    assert sorted(found.unneeded) == sorted(EDGES[:2])


def test_undefined_for_no_edges_and_for_ends_that_are_one() -> None:
    same = Formula(GRAPH, 3, lambda masks: np.ones((len(masks), 3)))
    full = measure_minimality(same, Circuit.full(GRAPH), seed=0)
    assert (full.least, full.n_edges) == (None, GRAPH.n_edges)
    assert (
        measure_minimality(
            linear(GRAPH, np.ones((GRAPH.n_edges, 3))), Circuit.empty(GRAPH), seed=0
        ).least
        is None
    )
