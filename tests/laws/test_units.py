"""Laws 3, 5 and 6 on graphs in which some MLPs are cut into neurons and the rest of them.

Whole and gated MLPs, beside the attention and after it, and under a post-norm, whose divisor the
parts share.
"""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest

from circuitgraph.engine.experiment import Experiment
from circuitgraph.engine.grid import group_writers
from circuitgraph.errors import ArgumentError
from circuitgraph.graph.graph import Graph
from tests.checkpoints import Tiny, load_tiny, oracle_run, random_prompts, save_tiny
from tests.laws.agreement import assert_same_logits, compare, loss_of, split_graph
from tests.oracle import eap
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
    assert_same_logits(model, random_prompts(longest=8), ablation, parts=NEURONS)


def test_acdc_decides_as_the_oracle(model: Tiny) -> None:
    """By whole masked runs and by the frontier; families with a norm of their own test no more."""
    setting = {"gpt2": ("kl", "resample"), "llama": ("logit_difference", "mean")}
    if model.ours.family not in setting:
        pytest.skip("the logits of its circuits, by both routes, are compared in other tests")
    circuit = compare(model, PROMPTS, *setting[model.ours.family], parts=NEURONS, frontier=True)
    assert 0 < len(circuit) < circuit.graph.n_edges
    assert circuit.scores is not None
    of_neurons = np.array([".n" in edge for edge in circuit.graph.edges])
    assert np.abs(circuit.scores[of_neurons]).max() > 1e-4


def test_scores_are_those_of_explicit_caches(model: Tiny, graph: Graph) -> None:
    experiment = Experiment(model.ours, PROMPTS, graph=graph)
    run = oracle_run(model, PROMPTS, "resample", double=True, parts=NEURONS)
    loss = loss_of("logit_difference", PROMPTS, run)
    attribution, groups = experiment.attribution, group_writers(graph)
    held = [attribution.at_interpolated_group(group, s) for group in groups for s in (0.5, 1.0)]
    for ours, theirs in (
        (attribution.at_interpolated_embedding(1.0), eap.explicit_eap(run, loss)),
        (np.mean(held, axis=0), eap.explicit_eap_ig_activations(run, loss, 2)),
        (attribution.flow(), eap.explicit_information_flow(run)),
    ):
        expected = np.array([theirs[edge] for edge in graph.edges])
        assert len(theirs) == len(expected)
        np.testing.assert_allclose(ours, expected, atol=2e-5 * np.abs(expected).max())


def test_the_gradient_by_the_mask_is_that_of_small_steps(model: Tiny, graph: Graph) -> None:
    """In float64 nothing of a central difference is lost; here a step of 1/64 is exact enough."""
    experiment = Experiment(model.ours, PROMPTS, graph=graph, metric="kl", frontier=False)
    rng = np.random.default_rng(0)
    mask = rng.random(graph.n_edges).astype(np.float32)
    gradient = experiment.gradient(mask)
    of_units = [i for i, edge in enumerate(graph.edges) if ".n" in edge or ".rest" in edge]
    edges = rng.choice(of_units, 20, replace=False)
    steps = np.eye(graph.n_edges, dtype=np.float32)[edges] / 64
    above, below = (experiment.losses(mask + sign * steps) for sign in (1, -1))
    slopes = (above - below) * 32
    np.testing.assert_allclose(gradient[edges], slopes, atol=2e-2 * np.abs(slopes).max())


def test_parts_taken_together_are_the_whole(model: Tiny, graph: Graph) -> None:
    """A mask that keeps all parts of an MLP or none is a mask of the graph of whole MLPs."""
    whole = model.ours.graph()
    masks = np.random.default_rng(1).random((6, whole.n_edges)) < 0.6
    masks[0], masks[1] = True, False
    parent = [
        whole.edge_index(f"{graph.writers[writer].node.whole}->{graph.readers[reader].name}")
        for reader, writer in zip(*graph.ends, strict=True)
    ]
    run = partial(Experiment, model.ours, PROMPTS, metric="logit")
    expected = run(frontier=False).values(masks)
    for frontier in (False, True):
        refined = run(graph=graph, frontier=frontier)
        np.testing.assert_allclose(refined.values(masks[:, parent]), expected, atol=2e-5)
        assert refined.frontier is None or frontier


def test_neurons_that_do_not_exist_are_refused(model: Tiny) -> None:
    d_mlp = model.ours.spec.d_mlp or 0
    graph = model.ours.graph().refine("m1", neurons=[d_mlp])
    with pytest.raises(ArgumentError, match=rf"m1\.n{d_mlp} is no neuron of this model"):
        Experiment(model.ours, PROMPTS, graph=graph)


def test_features_without_a_dictionary_are_refused(model: Tiny) -> None:
    graph = model.ours.graph().refine("m0", features=[1])
    with pytest.raises(ArgumentError, match="no dictionary of it is loaded"):
        Experiment(model.ours, PROMPTS, graph=graph)
