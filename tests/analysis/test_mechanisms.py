"""Mechanisms: mixtures are taken apart, one cloud stays whole, effects are those of plain runs."""

from __future__ import annotations

import numpy as np
import pytest

from circuitgraph.analysis.mechanisms import find_mechanisms, measure_prompt_effects
from circuitgraph.analysis.prompt_clusters import cluster_prompts, compare_clusters
from circuitgraph.engine.experiment import Experiment
from circuitgraph.errors import ArgumentError
from circuitgraph.graph.circuit import Circuit
from circuitgraph.graph.graph import Graph
from tests.checkpoints import Tiny, random_prompts
from tests.evaluation.fake import linear

GRAPH = Graph(1, 2, mlp=False)
N_PROMPTS = 24


def draw_effects(n_kinds: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Effects of prompts of one or two kinds, with noise that goes along one direction most, and
    the kind of each prompt.
    """
    rng = np.random.default_rng(seed)
    kinds = rng.permutation(np.arange(N_PROMPTS) % n_kinds)
    patterns = np.zeros((2, GRAPH.n_edges))
    patterns[0, :4], patterns[1, 3:7] = 1.0, 1.0
    stretched = rng.normal(size=(N_PROMPTS, 1)) * rng.normal(size=GRAPH.n_edges) * 0.15
    noise = rng.normal(size=(N_PROMPTS, GRAPH.n_edges)) * 0.05 + stretched
    strength = rng.uniform(0.5, 3, size=(N_PROMPTS, 1))  # which tells nothing of the pattern
    return strength * (patterns[kinds] + noise), kinds


def test_a_mixture_is_taken_apart() -> None:
    effects, kinds = draw_effects(2)
    result = find_mechanisms(linear(GRAPH, effects.T), share=0.05, n_null=19)
    assert result.n == 2
    same = result.clusters.labels == kinds
    assert same.all() or not same.any()
    assert result.comparison is not None
    assert result.comparison.p <= 0.01
    # each circuit has the edges of its pattern, one of which both share
    strongest = [set(np.argsort(-np.abs(np.asarray(c.scores)))[:4]) for c in result.circuits]
    assert sorted(map(sorted, strongest)) == [[0, 1, 2, 3], [3, 4, 5, 6]]


def test_one_cloud_is_one_mechanism_although_it_can_be_cut() -> None:
    """At a level of 5 %, ten stretched clouds seldom give more than one that looks like two."""
    several = 0
    for seed in range(10):
        effects, _ = draw_effects(1, seed)
        several += cluster_prompts(effects, most=3, n_null=19, seed=0).are_several
    assert several <= 2


def test_shuffled_labels_are_what_a_comparison_is_beside() -> None:
    """Random groups of one kind differ as random groups do; groups of two kinds do not."""
    for n_kinds, differs in ((1, False), (2, True)):
        effects, kinds = draw_effects(n_kinds)
        labels = kinds if differs else np.arange(N_PROMPTS) % 2
        compared = compare_clusters(effects, effects.sum(axis=1), labels, 0.05, seed=0)
        assert (compared.p <= 0.05) == differs
        one, two = ({*np.flatnonzero(mask)} for mask in compared.masks)
        assert compared.overlap == pytest.approx(len(one & two) / len(one | two))


def test_effects_are_those_of_one_run_after_the_other(tiny: Tiny) -> None:
    experiment = Experiment(tiny.ours, random_prompts(batch=3, longest=5), metric="kl")
    effects = measure_prompt_effects(experiment)
    whole = Circuit.full(experiment.graph).mask
    base = experiment.values(whole[None])[0]
    for edge in (0, 7, 100, experiment.graph.n_edges - 1):
        mask = whole.copy()
        mask[edge] = False
        alone = experiment.values(mask[None])[0]
        np.testing.assert_allclose(effects[:, edge], base - alone, atol=2e-6)


def test_too_little_is_refused() -> None:
    few = linear(GRAPH, np.ones((GRAPH.n_edges, 7)))
    with pytest.raises(ArgumentError, match="There are 7 prompts, but two clusters need"):
        find_mechanisms(few)
    with pytest.raises(ArgumentError, match=r"share is 1.5"):
        find_mechanisms(few, share=1.5)


def test_prompts_that_are_all_alike_have_no_clusters() -> None:
    result = find_mechanisms(linear(GRAPH, np.ones((GRAPH.n_edges, 9))), n_null=19)
    assert (result.n, result.comparison, len(result.circuits)) == (1, None, 1)
    assert result.clusters.silhouettes == {}
