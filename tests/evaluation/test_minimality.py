"""Minimality: the edge that a circuit misses least decides."""

from __future__ import annotations

import numpy as np
import pytest

from circuitgraph.engine.ablation import ablations
from circuitgraph.evaluation.baselines import Baselines
from circuitgraph.evaluation.minimality import (
    choose_tolerance,
    count_masks,
    measure_minimality,
)
from circuitgraph.evaluation.minimality_level import find_level, list_likely_pairs
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
    # the circuit, its two ends, its four edges; of such a small one all 11 larger sets
    assert sum(experiment.asked) == count_masks(circuit) == 18
    assert (found.level, found.removable) == ("subsets", [])


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
    assert (found.level, sorted(found.removable)) == ("none", sorted(EDGES[:2]))


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


def take_out(weights: list[float], edges: tuple[int, ...]) -> float:
    return sum(weights[edge] for edge in edges)


@pytest.mark.parametrize(
    ("weights", "level", "removable"),
    [
        ([0.0, 0.0], "none", (0, 1)),
        ([1.0, 0.05, 2.0], "some", (1,)),
        ([1.0, 2.0, -1.02], "single", (0, 2)),
        ([1.0, 2.0, -3.02], "pairs", (0, 1, 2)),
        ([1.0, 2.0, 4.0], "subsets", ()),
        ([*range(1, 12), -5.0], "single", (4, 11)),  # too many edges for all their sets
        ([*range(1, 12), -5.5], "pairs", ()),
    ],
)
def test_levels_where_effects_add_up(
    weights: list[float], level: str, removable: tuple[int, ...]
) -> None:
    """The sets that can go are known by hand: the effect of a set is the sum of its edges'."""
    reached = find_level(
        np.array(weights, float),
        0.1,
        lambda sets: np.array([take_out(weights, edges) for edges in sets], float),
    )
    assert (reached.level, reached.removable) == (level, removable)


def test_pairs_that_are_tried_are_those_that_cancel_best() -> None:
    effects = np.random.default_rng(0).normal(size=10)
    pairs = list_likely_pairs(effects)
    sums: dict[tuple[int, ...], float] = {
        (i, j): abs(effects[i] + effects[j]) for i in range(10) for j in range(i + 1, 10)
    }
    assert len(pairs) == len(set(pairs)) == 20
    assert max(sums[pair] for pair in pairs) <= min(sums[p] for p in sums if p not in pairs)


def test_the_tolerance_is_the_threshold_only_where_it_is_of_the_same_question() -> None:
    experiment = linear(GRAPH, weights_of(GRAPH, {EDGES[0]: 3.0}))
    experiment.ablation = ablations["resample"]
    ends = Baselines.of(experiment)
    origin = {"metric": "logit_difference", "ablation": "resample"}
    for name, change, tolerance in (
        ("acdc", {}, 0.25),
        ("eap", {}, 0.006),
        ("acdc", {"ablation": "mean"}, 0.006),
    ):
        algorithm = {"name": name, "arguments": {"threshold": 0.25}}
        circuit = Circuit(
            GRAPH,
            Circuit.full(GRAPH).mask,
            provenance={"algorithm": algorithm, **origin, **change},
        )
        assert choose_tolerance(experiment, circuit, ends) == pytest.approx(tolerance)
