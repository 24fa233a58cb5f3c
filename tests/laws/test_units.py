"""Laws 3, 5 and 6 on graphs in which some MLPs are cut into neurons and the rest of them.

Whole and gated MLPs, beside the attention and after it, and under a post-norm, whose divisor the
parts share.
"""

from __future__ import annotations

import numpy as np
import pytest

from circuitgraph.engine.experiment import Experiment
from circuitgraph.errors import ArgumentError
from circuitgraph.graph.graph import Graph
from tests.checkpoints import Tiny, load_tiny, random_prompts, save_tiny
from tests.laws.agreement import assert_same_logits, compare, split_graph
from tests.laws.parts import (
    assert_explicit_scores,
    assert_gradient_of_small_steps,
    assert_parts_are_the_whole,
)
from tests.parity.cases import CASES
from tests.parity.harness import save_random

NEURONS = {0: [1, 4, 7], 1: [0, 2]}
PROMPTS = random_prompts(batch=4, longest=7)


@pytest.fixture(scope="module", params=["gpt2", "llama", "gpt_neox: parallel", "gemma2"])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    folder, family = tmp_path_factory.mktemp("m"), request.param.partition(":")[0]
    if family == "gpt2":
        return save_tiny(folder, n_layer=2)
    return load_tiny(save_random(folder, family, **CASES[request.param]))


@pytest.fixture(scope="module")
def graph(model: Tiny) -> Graph:
    return split_graph(model.ours.graph(), NEURONS)


@pytest.mark.parametrize("ablation", ["resample", "mean"])
def test_random_circuits_have_the_oracles_logits(model: Tiny, ablation: str) -> None:
    assert_same_logits(model, PROMPTS, ablation, parts=NEURONS)


def test_acdc_decides_as_the_oracle(model: Tiny) -> None:
    """By whole masked runs and by the frontier; families with a norm of their own test no more."""
    ablation = {"gpt2": "resample", "llama": "mean"}
    if model.ours.family not in ablation:
        pytest.skip("the logits of its circuits, by both routes, are compared in other tests")
    circuit = compare(
        model, PROMPTS, "logit", ablation[model.ours.family], parts=NEURONS, frontier=True
    )
    assert 0 < len(circuit) < circuit.graph.n_edges
    assert circuit.scores is not None
    of_neurons = np.array([".n" in edge for edge in circuit.graph.edges])
    assert np.abs(circuit.scores[of_neurons]).max() > 1e-4


def test_scores_are_those_of_explicit_caches(model: Tiny, graph: Graph) -> None:
    assert_explicit_scores(model, PROMPTS, graph, NEURONS)


def test_the_gradient_by_the_mask_is_that_of_small_steps(model: Tiny, graph: Graph) -> None:
    assert_gradient_of_small_steps(model, PROMPTS, graph)


def test_parts_taken_together_are_the_whole(model: Tiny, graph: Graph) -> None:
    assert_parts_are_the_whole(model, PROMPTS, graph)


def test_neurons_that_do_not_exist_are_refused(model: Tiny) -> None:
    d_mlp = model.ours.spec.d_mlp or 0
    graph = model.ours.graph().refine("m1", neurons=[d_mlp])
    with pytest.raises(ArgumentError, match=rf"m1\.n{d_mlp} is no neuron of this model"):
        Experiment(model.ours, PROMPTS, graph=graph)


def test_features_without_a_dictionary_are_refused(model: Tiny) -> None:
    graph = model.ours.graph().refine("m0", features=[1])
    with pytest.raises(ArgumentError, match="no dictionary of it is loaded"):
        Experiment(model.ours, PROMPTS, graph=graph)
