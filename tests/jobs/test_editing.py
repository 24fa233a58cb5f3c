"""Edits of weights, beside the engine's zero ablation, and what is kept, refused and compared."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import circuitgraph as cg
from circuitgraph.engine.experiment import Experiment
from circuitgraph.engine.masked.runs import run_whole_model
from circuitgraph.errors import ArgumentError, UnknownNameError
from circuitgraph.evaluation.behaviour import measure_logits
from circuitgraph.jobs.edit import choose_neurons, compare_models, draw_neurons
from circuitgraph.jobs.fine_tune import choose_layers
from circuitgraph.models.loading import load_model
from circuitgraph.models.node_weights import parse_nodes
from tests.checkpoints import Tiny, load_tiny, random_prompts
from tests.parity.cases import CASES
from tests.parity.harness import save_random

TOKENS = np.random.default_rng(3).integers(0, 40, (2, 7))


@pytest.fixture(scope="module", params=["gpt2", "llama"])
def family(request: Any, tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    folder = tmp_path_factory.mktemp("m") / request.param
    return load_tiny(save_random(folder, request.param, **CASES[request.param]))


def test_a_node_of_no_weight_is_a_node_without_edges(family: Tiny) -> None:
    names = ["a1.h2", "m2", "m0.n3"]
    model, prompts = family.ours, random_prompts(vocab=family.ours.spec.d_vocab)
    graph = model.graph().refine("m0", neurons=[3])
    experiment = Experiment(model, prompts, metric="logit_difference", ablation="zero", graph=graph)
    masks = np.array([[not e.startswith(f"{name}->") for e in graph.edges] for name in names])
    ablated = experiment.values(masks)
    full, edited = (
        [run_whole_model(one.transformer, prompts) for one in models]
        for models in ([model], [cg.edit_weights(model, [name]) for name in names])
    )
    values = [measure_logits(experiment.metric, own, own, prompts) for own in edited]
    np.testing.assert_allclose(values, ablated, rtol=1e-4, atol=1e-4)
    changes = values - measure_logits(experiment.metric, full[0], full[0], prompts)
    assert (np.abs(changes).max(axis=1) > 1e-3).all()


def test_the_edited_checkpoint_is_the_edited_model(family: Tiny, tmp_path: Path) -> None:
    edited = cg.edit_weights(family.ours, ["m0.n3", "m2"], scale=0.0)
    edited = cg.edit_weights(edited, ["a1.h2"], scale=-1.5)
    names = cg.save_model(edited, tmp_path / "new")
    assert 3 <= len(names) <= 4
    with torch.no_grad():
        logits = load_tiny(tmp_path / "new").hf(torch.tensor(TOKENS)).logits.numpy()
    np.testing.assert_allclose(logits, edited.logits(TOKENS), atol=1e-5)
    assert load_model(str(tmp_path / "new")).fingerprint == edited.fingerprint
    assert edited.name == f"{family.ours.name} (edited)"


def test_what_is_kept_and_what_is_not(tiny: Tiny) -> None:
    kept = cg.edit_weights(tiny.ours, ["a0.h1", "m1.n4", "m1.n7"], keep_only=True)
    old, new = (model.transformer.blocks for model in (tiny.ours, kept))
    assert old.mlp is not None
    assert new.mlp is not None
    for before, after, own in (
        (old.attention.w_o, new.attention.w_o, (0, 1)),
        (old.mlp.w_out, new.mlp.w_out, (1, slice(None), [4, 7])),
    ):
        expected = np.zeros_like(before)
        expected[own] = np.asarray(before)[own]
        np.testing.assert_array_equal(after, expected)
    np.testing.assert_array_equal(new.mlp.b_out, old.mlp.b_out)
    np.testing.assert_array_equal(new.attention.w_q, old.attention.w_q)
    halved = cg.edit_weights(tiny.ours, ["m0"], scale=0.5, keep_only=True).transformer.blocks.mlp
    assert halved is not None
    np.testing.assert_array_equal(halved.b_out, np.asarray(old.mlp.b_out) * [[1], [0.5], [0.5]])


def test_experts_are_one_mlp(tmp_path: Path) -> None:
    mixture = load_tiny(save_random(tmp_path, "mixtral", **CASES["mixtral"])).ours
    edited = cg.edit_weights(mixture, ["m1"]).transformer.blocks.mlp
    assert edited is not None
    assert [bool(layer.any()) for layer in edited.w_out] == [
        i != 1 for i in range(mixture.spec.n_layers)
    ]
    with pytest.raises(ArgumentError, match="a neuron once for each expert"):
        cg.edit_weights(mixture, ["m0.n1"])
    with pytest.raises(ArgumentError, match=r"Mixtures of experts cannot be tuned alone:\s+- m1$"):
        choose_layers(mixture.spec, parse_nodes(mixture.spec, ["m1"]))


@pytest.mark.parametrize(
    ("nodes", "options", "message"),
    [
        ([], {}, "there are none: name some"),
        ("a0.h1", {}, "Give a list of names"),
        (["a0.h4"], {}, r"a0.h4: the model has 4 heads in a layer, 0 to 3"),
        (["m0.n40"], {}, r"m0.n40: the model has 40 neurons in an MLP"),
        (["m3", "embed"], {}, r"m3: the model has 3 layers[^$]*embed: expected a head"),
        (["m0.rest"], {}, "expected a head"),
        (["m0"], {"scale": float("nan")}, "scale is nan"),
        (["m0", "m1.n2"], {"keep_only": True}, "name either neurons or MLPs"),
    ],
)
def test_what_cannot_be_edited(tiny: Tiny, nodes: Any, options: Any, message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        cg.edit_weights(tiny.ours, nodes, **options)


def test_unknown_names(tiny: Tiny) -> None:
    with pytest.raises(UnknownNameError, match="'heads' is not the name of a node"):
        cg.edit_weights(tiny.ours, ["heads"])


def test_tasks_before_and_after() -> None:
    model = cg.load_model("addition")
    task = cg.load_task("addition", model, seed=0)
    edited = cg.edit_weights(model, ["m1"])
    (record,) = compare_models(model, edited, [task], metric="accuracy", n_prompts=40)
    assert record.before.mean > 0.9 > 0.7 > record.after.mean
    assert record.change.low <= record.change.mean <= record.change.high < 0
    assert record.change.mean == pytest.approx(record.after.mean - record.before.mean)
    (same,) = compare_models(model, cg.edit_weights(model, ["m1"], scale=1.0), [task], n_prompts=9)
    assert (same.metric, same.change.low, same.change.high) == ("logit_difference", 0, 0)
    huge = cg.edit_weights(model, ["m0", "m1"], scale=3e38)
    with pytest.raises(ArgumentError, match="is not finite: scale by less"):
        compare_models(model, huge, [task], n_prompts=9)


def test_neurons_that_matter_are_those_that_zeroing_changes() -> None:
    """In a model whose other neurons write nothing, they are chosen, in all layers together."""
    model = load_model("addition")
    task = cg.load_task("addition", model, seed=0)
    writing = ["m0.n3", "m0.n20", "m1.n30", "m1.n38"]
    pruned = cg.edit_weights(model, writing, keep_only=True)
    assert model.spec.d_mlp is not None
    n = model.spec.n_layers * model.spec.d_mlp
    assert choose_neurons(pruned, task, 4 / n, n_prompts=8) == writing
    assert len(set(draw_neurons(model.spec, 40, 0))) == 40


@pytest.mark.parametrize("share", [0.0, 1.0, float("nan")])
def test_shares_without_sense(share: float) -> None:
    model = load_model("addition")
    with pytest.raises(ArgumentError, match="must lie between 0 and 1"):
        choose_neurons(model, cg.load_task("addition", model, seed=0), share)
