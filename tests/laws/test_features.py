"""Laws 3, 5 and 6 on graphs in which an MLP is cut into features of a dictionary, rest and error.

Beside an MLP cut into neurons; sparse autoencoders and transcoders; under a post-norm, too.
"""

from __future__ import annotations

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from circuitgraph.engine.experiment import Experiment
from circuitgraph.errors import ArgumentError
from circuitgraph.graph.graph import Graph
from circuitgraph.models.attaching import attach_dictionaries
from circuitgraph.models.dictionaries.dictionary import Dictionary
from circuitgraph.models.dictionaries.dictionary_spec import DictionarySpec
from circuitgraph.models.dictionaries.hooks import Hook, Place
from tests.checkpoints import Tiny, load_tiny, random_prompts, save_tiny
from tests.laws.agreement import assert_same_logits, compare, split_graph
from tests.laws.parts import (
    assert_explicit_scores,
    assert_gradient_of_small_steps,
    assert_parts_are_the_whole,
)
from tests.oracle.units import FeatureParts, Parts
from tests.parity.cases import CASES
from tests.parity.harness import save_random

PROMPTS = random_prompts(batch=4, longest=7)
N_FEATURES = 20
# family, what the dictionary reads, its layer, whether its error is frozen; the other layer is cut
# into neurons
SETTINGS: dict[str, tuple[Place, int, bool]] = {
    "gpt2": ("mlp_output", 0, False),
    "llama": ("mlp_normed", 1, True),
    "gemma2": ("mlp_output", 1, False),
    "gpt2: frozen": ("mlp_normed", 0, True),
}


def draw_dictionary(d: int, place: Place, layer: int) -> Dictionary:
    rng = np.random.default_rng(0)

    def draw(*shape: int) -> jax.Array:
        return jnp.asarray(rng.normal(size=shape) / 2, jnp.float32)

    spec = DictionarySpec(
        layout="test",
        activation="relu",
        subtracts_b_dec=False,
        reads=Hook(place, layer),
        writes=(Hook("mlp_output", layer),),
    )
    weights = (draw(N_FEATURES, d), draw(N_FEATURES), draw(1, N_FEATURES, d), draw(d))
    return Dictionary(*weights, spec=spec)


def make_parts(dictionary: Dictionary, frozen: bool) -> Parts:
    reads = dictionary.spec.reads
    assert reads is not None
    w_enc, b_enc, w_dec, b_dec = (
        torch.tensor(np.asarray(w))
        for w in (dictionary.w_enc, dictionary.b_enc, dictionary.w_dec[0], dictionary.b_dec)
    )
    features = FeatureParts([2, 3, 11], reads.after_mlp, w_enc, b_enc, w_dec, b_dec, frozen)
    return {reads.layer: features, 1 - reads.layer: [0, 2]}


@pytest.fixture(scope="module", params=list(SETTINGS))
def case(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Tiny, Parts]:
    folder, family = tmp_path_factory.mktemp("m"), request.param.partition(":")[0]
    place, layer, frozen = SETTINGS[request.param]
    if family == "gpt2":
        tiny = save_tiny(folder, n_layer=2)
    else:
        tiny = load_tiny(save_random(folder, family, **CASES[family]))
    dictionary = draw_dictionary(tiny.ours.spec.d_model, place, layer)
    ours = attach_dictionaries(tiny.ours, dictionary)
    parts = dict(sorted(make_parts(dictionary, frozen).items()))
    return replace(tiny, ours=ours), parts


@pytest.fixture(scope="module")
def model(case: tuple[Tiny, Parts]) -> Tiny:
    return case[0]


@pytest.fixture(scope="module")
def parts(case: tuple[Tiny, Parts]) -> Parts:
    return case[1]


@pytest.fixture(scope="module")
def graph(model: Tiny, parts: Parts) -> Graph:
    return split_graph(model.ours.graph(), parts)


@pytest.mark.parametrize("ablation", ["resample", "mean"])
def test_random_circuits_have_the_oracles_logits(model: Tiny, parts: Parts, ablation: str) -> None:
    assert_same_logits(model, PROMPTS, ablation, parts=parts)


def test_acdc_decides_as_the_oracle(model: Tiny, parts: Parts) -> None:
    """By whole masked runs and by the frontier."""
    if model.ours.family != "gpt2":
        pytest.skip("the logits of its circuits, by both routes, are compared in other tests")
    circuit = compare(model, PROMPTS, "logit", "resample", parts=parts, frontier=True)
    assert 0 < len(circuit) < circuit.graph.n_edges
    assert circuit.scores is not None
    for part in (".f", ".rest", ".error"):
        chosen = np.array([part in edge for edge in circuit.graph.edges])
        assert np.abs(circuit.scores[chosen]).max() > 1e-4


def test_scores_are_those_of_explicit_caches(model: Tiny, parts: Parts, graph: Graph) -> None:
    assert_explicit_scores(model, PROMPTS, graph, parts)


def test_the_gradient_by_the_mask_is_that_of_small_steps(model: Tiny, graph: Graph) -> None:
    assert_gradient_of_small_steps(model, PROMPTS, graph)


def test_parts_taken_together_are_the_whole(model: Tiny, graph: Graph) -> None:
    if any(split.frozen for split in graph.splits):
        pytest.skip("a frozen error is no part of what the whole MLP makes of another input")
    assert_parts_are_the_whole(model, PROMPTS, graph)


def test_features_that_do_not_exist_are_refused(model: Tiny, parts: Parts) -> None:
    layer = next(n for n, chosen in parts.items() if isinstance(chosen, FeatureParts))
    graph = model.ours.graph().refine(f"m{layer}", features=[N_FEATURES])
    with pytest.raises(ArgumentError, match=rf"m{layer}\.f20 is no feature of its dictionary"):
        Experiment(model.ours, PROMPTS, graph=graph)
