"""Fine-tuning: the gradient beside torch's, what stays, what is counted and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import circuitgraph as cg
from circuitgraph.engine.batch import make_batch
from circuitgraph.engine.fine_tuning import (
    LayerChoice,
    open_model,
    open_nodes,
    run_tuning_step,
    start_optimiser,
)
from circuitgraph.engine.low_rank import LowRankChange
from circuitgraph.errors import ArgumentError
from circuitgraph.jobs.fine_tune import choose_layers
from circuitgraph.models.build import name_arrays
from circuitgraph.models.language_model import LanguageModel
from circuitgraph.models.loading import load_model
from circuitgraph.models.node_weights import parse_nodes
from circuitgraph.models.spec import Spec
from circuitgraph.tasks.base import Task
from circuitgraph.tasks.prompts import Prompts
from tests.checkpoints import Tiny, random_prompts


@pytest.fixture(scope="module")
def addition() -> LanguageModel:
    return load_model("addition")


@pytest.fixture(scope="module")
def task(addition: LanguageModel) -> Task:
    return cg.load_task("addition", addition, seed=0)


def read_gradients(tiny: Tiny, prompts: Prompts) -> tuple[float, dict[str, np.ndarray]]:
    """torch's mean cross-entropy of the answers, and its gradients by our names."""
    logits = tiny.hf(
        torch.tensor(prompts.clean).long(), attention_mask=torch.tensor(prompts.mask).long()
    ).logits
    scored = logits[torch.arange(len(prompts)), torch.tensor(prompts.score_at)]
    loss = torch.nn.functional.cross_entropy(scored, torch.tensor(prompts.answer).long())
    tiny.hf.zero_grad()
    loss.backward()
    blocks, spec = tiny.hf.transformer.h, tiny.ours.spec
    by_head = (spec.n_heads, spec.d_head, spec.d_model)
    gradients = {
        "attention.q.weight": [
            b.attn.c_attn.weight.grad[:, : spec.d_model].T.reshape(by_head) for b in blocks
        ],
        "attention.o.weight": [
            b.attn.c_proj.weight.grad.reshape(by_head).swapaxes(1, 2) for b in blocks
        ],
        "mlp.in.weight": [b.mlp.c_fc.weight.grad.T for b in blocks],
        "mlp.out.weight": [b.mlp.c_proj.weight.grad.T for b in blocks],
    }
    return loss.item(), {key: torch.stack(own).numpy() for key, own in gradients.items()}


TUNED = {
    "attention.q.weight": [(1, 2)],
    "attention.o.weight": [(1, 2)],
    "mlp.in.weight": [(2,), (0, 3)],
    "mlp.out.weight": [(2,), (0, slice(None), 3)],
}


@pytest.mark.parametrize("whole", [False, True])
def test_the_step_is_that_of_torch(tiny: Tiny, whole: bool) -> None:
    """Adam's first step is the gradient's sign, so that all signs are compared."""
    prompts, transformer = random_prompts(), tiny.ours.transformer
    choices = choose_layers(tiny.ours.spec, parse_nodes(tiny.ours.spec, ["1.2", "m2", "m0.n3"]))
    network, numbers = open_model(transformer) if whole else open_nodes(transformer, choices)
    state, batch = start_optimiser(numbers, 0.01), make_batch(prompts)
    moved, _, loss = run_tuning_step(network, numbers, state, batch.inputs, batch.targets, 0.01)
    arrays, old = name_arrays(network.build_model(moved)), name_arrays(transformer)
    expected, gradients = read_gradients(tiny, prompts)
    assert float(loss) == pytest.approx(expected, rel=1e-5)
    for key, gradient in gradients.items():
        change = np.asarray(arrays[key]) - np.asarray(old[key])
        own = np.full(change.shape, whole)
        for place in TUNED[key]:
            own[place] = True
        assert not change[~own].any()
        clear = own & (np.abs(gradient) > 1e-4)
        assert clear.any()
        np.testing.assert_array_equal(np.sign(change[clear]), -np.sign(gradient[clear]))
    assert whole == bool((np.asarray(arrays["embedding.weight"]) != old["embedding.weight"]).any())


def test_keys_that_heads_share_are_tuned_with_all_of_them() -> None:
    spec = Spec(**{**vars(load_model("induction-2l").spec), "n_heads": 4, "n_kv_heads": 2})
    assert choose_layers(spec, parse_nodes(spec, ["a0.h1", "a0.h2", "a0.h3"])) == {
        0: LayerChoice(heads=(1, 2, 3), kv_heads=(1,), neurons=())
    }


def test_the_step_of_low_rank_is_that_of_torch(tiny: Tiny) -> None:
    """While B is 0, its gradient is the matrix's own times A transposed, and A has none."""
    prompts, transformer, layer = random_prompts(), tiny.ours.transformer, 1
    network, numbers = open_nodes(transformer, {layer: LowRankChange(rank=3, seed=0)})
    same = name_arrays(network.build_model(numbers))
    state, batch = start_optimiser(numbers, 0.01), make_batch(prompts)
    moved, _, loss = run_tuning_step(network, numbers, state, batch.inputs, batch.targets, 0.01)
    expected, gradients = read_gradients(tiny, prompts)
    assert float(loss) == pytest.approx(expected, rel=1e-5)
    np.testing.assert_array_equal(moved[0], numbers[0])
    of_matrix = gradients["attention.q.weight"][layer].reshape(-1, tiny.ours.spec.d_model)
    gradient = of_matrix @ np.asarray(numbers[0]).T
    clear = np.abs(gradient) > 1e-4
    assert clear.any()
    np.testing.assert_array_equal(np.sign(moved[1])[clear], -np.sign(gradient)[clear])
    after, old = name_arrays(network.build_model(moved)), name_arrays(transformer)
    for key, array in after.items():
        np.testing.assert_array_equal(same[key], old[key])
        change = np.asarray(array) - np.asarray(old[key])
        is_changed = key in ("attention.q.weight", "attention.v.weight")
        assert change.any() == is_changed
        if is_changed:
            assert not np.delete(change, layer, axis=0).any()
            whole = change[layer].reshape(-1, change.shape[-1])
            assert np.linalg.matrix_rank(whole, tol=1e-5) == 3


def test_tuning_lowers_the_loss_and_is_saved(
    addition: LanguageModel, task: Task, tmp_path: Path
) -> None:
    broken = cg.edit_weights(addition, ["m1"], scale=0.2)
    arguments = {"steps": 12, "learning_rate": 3e-3, "batch_size": 16, "n_prompts": 64}
    tuned = cg.fine_tune(broken, task, nodes=["m1", "a1.h0"], **arguments)
    assert tuned.record.loss_first == tuned.losses[0] > tuned.record.loss_last
    assert tuned.losses == cg.fine_tune(broken, task, nodes=["m1", "a1.h0"], **arguments).losses
    spec = addition.spec
    assert spec.d_mlp is not None
    whole = cg.fine_tune(broken, task, **{**arguments, "steps": 1})
    assert whole.record.n_tuned == addition.n_parameters > 2 * tuned.record.n_tuned
    cg.save_model(tuned.model, tmp_path / "new")
    assert load_model(str(tmp_path / "new")).fingerprint == tuned.model.fingerprint
    old = name_arrays(broken.transformer)
    low = cg.fine_tune(broken, task, lora=1, rank=2, **arguments)
    assert low.record.loss_first == tuned.losses[0] > low.record.loss_last
    d_model, n_heads, d_head = spec.d_model, spec.n_heads, spec.d_head
    assert low.record.n_tuned == 2 * 2 * (d_model + n_heads * d_head)
    for key, array in name_arrays(tuned.model.transformer).items():
        if key.startswith(("embedding", "mlp.norm", "attention.norm")):
            np.testing.assert_array_equal(array, old[key])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": 0}, "steps is 0"),
        ({"learning_rate": 0.0}, "learning_rate is 0.0, but must lie between 0 and 1"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"nodes": []}, "there are none: name some"),
        ({"nodes": ["logits"]}, "logits: expected a head"),
        ({"nodes": ["m1"], "lora": 1}, "Both nodes and lora=1 were given"),
        ({"lora": 2}, "lora is 2, but must be at most 1"),
        ({"rank": 2}, "rank is 2, but lora names no layer"),
        ({"lora": 0, "rank": 0}, "rank is 0"),
        ({"lora": 0, "rank": 999}, "rank is 999, but must be at most 64"),
    ],
)
def test_what_cannot_be_tuned(
    addition: LanguageModel, task: Task, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ArgumentError, match=message):
        cg.fine_tune(addition, task, **options)


def test_sixteen_bits_are_refused(task: Task) -> None:
    with pytest.raises(ArgumentError, match="is loaded in bfloat16, in which small steps vanish"):
        cg.fine_tune(load_model("addition", dtype="bfloat16"), task)
