"""Searches among features: a dictionary that is the MLP itself, and what is refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from circuitgraph.discovery.acdc import Acdc
from circuitgraph.discovery.loop import run_search
from circuitgraph.discovery.refinement import choose_units, measure_rests, refine_graph
from circuitgraph.engine.experiment import Experiment
from circuitgraph.errors import ArgumentError
from circuitgraph.graph.circuit import Circuit
from circuitgraph.models.attaching import attach_dictionaries
from circuitgraph.models.dictionaries.dictionary import Dictionary
from circuitgraph.models.dictionaries.dictionary_spec import DictionarySpec
from circuitgraph.models.dictionaries.hooks import Hook
from circuitgraph.models.language_model import LanguageModel
from circuitgraph.models.units import select_layer
from tests.checkpoints import random_prompts, save_tiny

PROMPTS = random_prompts(batch=4, longest=7)
CHOSEN = {0: (1, 4, 7), 1: (0, 2, 19)}


def copy_mlp(model: LanguageModel, layer: int) -> Dictionary:
    """The transcoder whose features are an MLP's neurons."""
    assert model.transformer.blocks.mlp is not None
    mlp = select_layer(model.transformer.blocks.mlp, layer)
    assert mlp.b_in is not None
    assert mlp.b_out is not None
    spec = DictionarySpec(
        layout="test",
        activation="relu",
        subtracts_b_dec=False,
        reads=Hook("mlp_normed", layer),
        writes=(Hook("mlp_output", layer),),
    )
    return Dictionary(mlp.w_in, mlp.b_in, mlp.w_out.T[None], mlp.b_out, spec=spec)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> LanguageModel:
    shape = {"n_layer": 2, "n_inner": 20, "activation_function": "relu"}
    ours = save_tiny(tmp_path_factory.mktemp("relu"), **shape).ours
    return attach_dictionaries(ours, *(copy_mlp(ours, layer) for layer in range(2)))


def test_an_identity_dictionary_gives_the_neuron_graph(model: LanguageModel) -> None:
    """Every decision and effect to the last bit but rounding of sums, and no error is kept."""
    circuits = []
    for kind in ("neuron", "feature"):
        graph = refine_graph(model.graph(), kind, CHOSEN)
        experiment = Experiment(model, PROMPTS, graph=graph, metric="kl", frontier=True)
        circuits.append(run_search(Acdc(threshold=0.002), experiment))
    of_neurons, of_features = circuits
    edges = {edge.replace(".n", ".f") for edge in of_neurons.edges}
    assert set(of_features.edges) == edges
    assert any(".f" in edge for edge in edges)
    for edge in of_neurons.graph.edges:
        ours = of_neurons.effect_of(of_neurons.graph.edge_index(edge))
        same = of_features.graph.edge_index(edge.replace(".n", ".f"))
        assert of_features.effect_of(same) == pytest.approx(ours, abs=1e-6)


def test_features_are_ranked_as_the_neurons_that_they_are(model: LanguageModel) -> None:
    experiment = Experiment(model, PROMPTS)
    neurons, features = (
        experiment.attribution.neuron_importances(),
        experiment.attribution.feature_importances(),
    )
    assert neurons.keys() == features.keys()
    for layer, importances in neurons.items():
        np.testing.assert_allclose(features[layer], importances, atol=1e-6)
    full = Circuit.full(experiment.graph)
    chosen = [choose_units(experiment, full, kind, 5) for kind in ("neuron", "feature")]
    assert chosen[0] == chosen[1]
    one = replace(model, dictionaries={1: model.dictionaries[1]})
    assert choose_units(Experiment(one, PROMPTS), full, "feature", 3).keys() == {1}


def test_errors_are_measured_as_rests_are(model: LanguageModel) -> None:
    graph = refine_graph(model.graph(), "feature", CHOSEN)
    experiment = Experiment(model, PROMPTS, graph=graph)
    rests = measure_rests(experiment, Circuit.full(graph))
    assert rests.keys() == {"m0.rest", "m0.error", "m1.rest", "m1.error"}
    assert abs(rests["m0.error"]) < 1e-5 < abs(rests["m0.rest"])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"reads": Hook("resid_post", 0), "writes": (Hook("resid_post", 0),)}, "residual stream"),
        ({"reads": Hook("z", 0), "writes": (Hook("z", 0),)}, "what heads fetch"),
        (
            {"reads": Hook("attention_output", 0), "writes": (Hook("attention_output", 0),)},
            "heads are nodes",
        ),
        ({"reads": Hook("mlp_normed", 1)}, "Two dictionaries take m1 apart"),
    ],
)
def test_what_can_be_no_node_is_refused(
    model: LanguageModel, changes: dict[str, object], message: str
) -> None:
    first, second = (each.dictionary for each in model.dictionaries.values())
    if "writes" not in changes:
        changes = {**changes, "writes": (Hook("mlp_output", 1),)}
    other = replace(first, spec=replace(first.spec, **changes))  # pyright: ignore
    with pytest.raises(ArgumentError, match=message):
        attach_dictionaries(replace(model, dictionaries={}), other, second)


def test_dictionaries_that_differ_are_refused(model: LanguageModel) -> None:
    first, second = (each.dictionary for each in model.dictionaries.values())
    spec = replace(first.spec, activation="top_k", k=3)
    with pytest.raises(ArgumentError, match="of one set"):
        attach_dictionaries(model, replace(first, spec=spec), second)
