"""From a circuit of heads and MLPs to one of neurons: what is cut, what is kept, what is left."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import circuitgraph as cg
from circuitgraph.catalog.files import load_circuit, save_circuit
from circuitgraph.discovery.refinement import (
    choose_units,
    measure_rests,
    read_refinement,
    refine_edges,
    refine_graph,
)
from circuitgraph.drawing.dot import to_dot
from circuitgraph.engine.experiment import Experiment
from circuitgraph.errors import ArgumentError, SearchError
from circuitgraph.graph.circuit import Circuit
from circuitgraph.graph.graph import Graph
from circuitgraph.models.language_model import LanguageModel
from circuitgraph.tasks.base import Task
from tests.checkpoints import Tiny, oracle_run, random_prompts, save_tiny
from tests.laws.agreement import loss_of
from tests.oracle import eap

WIDTHS = dict.fromkeys(range(3), 5)
PROMPTS = random_prompts(batch=4, longest=7)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    return save_tiny(tmp_path_factory.mktemp("small"), n_layer=2, n_inner=20)


@pytest.fixture(scope="module")
def experiment(small: Tiny) -> Experiment:
    return Experiment(small.ours, PROMPTS)


@pytest.mark.parametrize(
    ("texts", "neurons"),
    [
        (["auto"], None),
        (["m1:4,2"], {1: (2, 4)}),
        (["M0:all", "m2:0"], {0: (0, 1, 2, 3, 4), 2: (0,)}),
    ],
)
def test_what_is_asked_for_is_understood(texts: list[str], neurons: object) -> None:
    assert read_refinement(texts, "neuron", WIDTHS) == neurons


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["m0"], "'m0': expected 'auto' alone"),
        (["auto", "m0:1"], "'auto': expected 'auto' alone"),
        (["m0:1,1"], "stands twice"),
        (["m0:1", "m0:2"], "put its numbers into one list"),
        (["m0:5"], "has 5 neurons, from 0"),
        (["m7:0"], "m7: it has no neurons here; those that have: m0, m1, m2"),
        (["m0:-1"], "expected 'auto' alone"),
        ([], "nothing is named"),
    ],
)
def test_what_makes_no_sense_is_refused(texts: list[str], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        read_refinement(texts, "neuron", WIDTHS)


@pytest.mark.parametrize("ablation", ["resample", "mean"])
def test_importances_of_neurons_are_those_of_explicit_caches(small: Tiny, ablation: str) -> None:
    every = {layer: list(range(20)) for layer in range(2)}
    run = oracle_run(small, PROMPTS, ablation, double=True, parts=every)
    theirs = eap.explicit_importances(run, loss_of("logit_difference", PROMPTS, run))
    expected = [[theirs[f"m{layer}.n{i}"] for i in every[layer]] for layer in every]
    experiment = Experiment(small.ours, PROMPTS, ablation=ablation)
    ours = np.stack(list(experiment.attribution.neuron_importances().values()))
    np.testing.assert_allclose(ours, expected, atol=1e-5 * np.max(expected))
    # the same neurons as nodes of a graph, beside heads and rests
    graph = refine_graph(small.ours.graph(), "neuron", {0: (3, 11), 1: (0, 19)})
    run = oracle_run(small, PROMPTS, ablation, double=True, parts={0: [3, 11], 1: [0, 19]})
    theirs = eap.explicit_importances(run, loss_of("logit_difference", PROMPTS, run))
    ours = Experiment(small.ours, PROMPTS, ablation=ablation, graph=graph).attribution.importances()
    wanted = np.array([theirs[writer.name] for writer in graph.writers[1:]])
    np.testing.assert_allclose(ours, wanted, atol=1e-5 * wanted.max())


def test_the_strongest_neurons_of_the_circuits_mlps_are_chosen(experiment: Experiment) -> None:
    graph, importances = (
        experiment.graph,
        np.stack(list(experiment.attribution.neuron_importances().values())),
    )
    of_one = Circuit.of(graph, ["embed->m1", "m1->logits"])
    strongest = np.argsort(-importances[1])[:3]
    assert choose_units(experiment, of_one, "neuron", 3) == {1: tuple(sorted(strongest.tolist()))}
    chosen = choose_units(experiment, Circuit.full(graph), "neuron", 7)
    least = min(importances[layer, i] for layer, some in chosen.items() for i in some)
    assert (importances >= least).sum() == 7 == sum(map(len, chosen.values()))
    everything = choose_units(experiment, Circuit.full(graph), "neuron", 1000)
    assert everything == dict.fromkeys(range(2), tuple(range(20)))
    with pytest.raises(SearchError, match="No MLP that has neurons is in the circuit"):
        choose_units(experiment, Circuit.of(graph, ["embed->logits"]), "neuron", 3)


def test_parts_keep_the_edges_of_their_mlp() -> None:
    whole = Graph(2, 2, direct=True)
    refined = refine_graph(whole, "neuron", {0: (1, 5)})
    edges = ["embed->m0", "m0->a1.h0<k>", "a1.h0<k>->a1.h0", "a1.h0->logits"]
    mask = refine_edges(whole, Circuit.of(whole, edges).mask, refined)
    parts = [f"m0.{part}->a1.h0<k>" for part in ("n1", "n5", "rest")]
    assert Circuit(refined, mask) == Circuit.of(refined, [edges[0], *parts, *edges[2:]])


def test_inputs_of_their_own_keep_the_edges_of_their_mlp() -> None:
    whole = Graph(2, 1)
    refined = refine_graph(whole, "neuron", {1: (5,)}, own_inputs=True)
    mask = refine_edges(whole, Circuit.of(whole, ["m0->m1", "m1->logits"]).mask, refined)
    edges = ["m0->m1", "m0->m1.n5", "m1.n5->logits", "m1.rest->logits"]
    assert Circuit(refined, mask) == Circuit.of(refined, edges)


def test_rests_are_measured_by_removal(small: Tiny) -> None:
    graph = refine_graph(small.ours.graph(), "neuron", {0: (1,), 1: (2, 3)})
    experiment = Experiment(small.ours, PROMPTS, graph=graph)
    full = Circuit.full(graph)
    without = full.without(edge for edge in graph.edges if edge.startswith("m1.rest->"))
    before, after = experiment.losses(np.stack([full.mask, without.mask]))
    assert measure_rests(experiment, full)["m1.rest"] == pytest.approx(after - before, abs=1e-6)
    assert measure_rests(experiment, without).keys() == {"m0.rest"}


@pytest.fixture(scope="module")
def addition() -> tuple[LanguageModel, Task]:
    model = cg.load_model("addition")
    return model, cg.load_task("addition", model)


@pytest.mark.slow
def test_a_search_goes_on_among_neurons(
    addition: tuple[LanguageModel, Task], tmp_path: Path
) -> None:
    """Inside the circuit of heads and MLPs; stored, judged, and taken up again by its journals."""
    setup: dict[str, Any] = {"metric": "kl", "threshold": 0.5, "n_prompts": 8}
    of_heads = cg.discover(*addition, **setup)
    journal = tmp_path / "j.jsonl"
    asked: dict[str, Any] = {**setup, "granularity": "neuron", "n_units": 6, "journal": journal}
    circuit = cg.discover(*addition, **asked)
    assert circuit.graph.n_units == 6
    inside = refine_edges(of_heads.graph, of_heads.mask, circuit.graph)
    assert not (circuit.mask & ~inside).any()
    facts = circuit.provenance["refinement"]
    assert (facts["n_head_edges"], facts["n_units"]) == (len(of_heads), 6)
    assert set(facts["rests"]) == {n for n in circuit.nodes if n.endswith(".rest")}
    save_circuit(circuit, tmp_path / "c")
    assert load_circuit(tmp_path / "c").provenance["refinement"] == facts
    judged = cg.evaluate(*addition, circuit, n_prompts=20)
    assert judged.faithfulness is not None
    assert judged.faithfulness.mean > 0.5
    assert sorted(path.name for path in tmp_path.glob("*.jsonl")) == ["j.jsonl", "j.units.jsonl"]
    again = cg.discover(*addition, **asked)
    assert again == circuit
    assert ".rest" in to_dot(circuit).source


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"granularity": "feature"}, "no dictionary is loaded"),
        ({"granularity": "neuron", "frozen_errors": True}, "has no errors of dictionaries"),
        ({"own_inputs": True}, "has no neurons or features"),
        ({"granularity": "atom"}, "expected one of head, neuron, feature"),
        ({"refine": ["m0:1"]}, "use granularity 'neuron'"),
        ({"granularity": "neuron", "n_units": 0}, "n_units"),
        ({"granularity": "neuron", "refine": ["m0:x"]}, "cannot be refined"),
    ],
)
def test_refused_before_anything_runs(
    addition: tuple[LanguageModel, Task], settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(ArgumentError, match=message):
        cg.discover(*addition, threshold=0.5, **settings)
