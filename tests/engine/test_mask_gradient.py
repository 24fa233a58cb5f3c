"""The gradient by a mask is that of automatic differentiation, and needs little memory."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from circuitgraph.engine.batch import Batch
from circuitgraph.engine.experiment import Experiment
from circuitgraph.engine.grid import Grid
from circuitgraph.engine.masked.forward import compute_masked_logits
from circuitgraph.engine.masked.programs import run_losses_and_gradient
from circuitgraph.engine.memory import choose_batch_sizes, estimate_row_bytes
from circuitgraph.models.language_model import LanguageModel
from circuitgraph.models.loading import load_model
from circuitgraph.models.transformer import Transformer
from circuitgraph.tasks.metrics import metrics
from tests.checkpoints import Tiny, random_prompts, save_tiny
from tests.parity.cases import CASES
from tests.parity.harness import save_random, unpolished

# a family for each way in which a layer's readers and writers may hang together
FAMILIES = ["llama", "gpt_neox: parallel", "gemma2", "qwen2_moe"]


@pytest.fixture(scope="module")
def deep(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    return save_tiny(tmp_path_factory.mktemp("deep"), silent_mlp=True, n_layer=12, n_head=4)


@unpolished
def differentiate(
    network: Transformer, mask: jax.Array, grid: Grid, batch: Batch
) -> tuple[jax.Array, jax.Array]:
    """The losses by KL, and the gradient of their sum as jax makes it."""

    def sum_losses(mask: jax.Array) -> tuple[jax.Array, jax.Array]:
        assert batch.background is not None
        logits = compute_masked_logits(network, mask, grid, batch.background, batch.inputs)
        losses = metrics["kl"].loss(logits, batch.targets)
        return losses.sum(), losses

    gradient, losses = jax.grad(sum_losses, has_aux=True)(mask)
    return losses, gradient


def assert_same_gradient(model: LanguageModel, **settings: Any) -> None:
    """At fractions, zeros and ones."""
    settings = {"prompts": random_prompts(batch=3, longest=6), "metric": "kl", **settings}
    experiment = Experiment(model, frontier=False, **settings)
    rng = np.random.default_rng(0)
    mask = np.clip(rng.uniform(-0.2, 1.2, experiment.graph.n_edges), 0, 1).astype(np.float32)
    (batch,) = experiment._masked.batches
    losses, theirs = differentiate(
        model.transformer, jnp.asarray(mask), experiment._masked.grid, batch
    )
    ours, gradient = experiment._masked.losses_and_gradient(mask)
    np.testing.assert_allclose(ours, losses, rtol=1e-5, atol=1e-6)
    assert (np.abs(gradient) > 0).mean() > 0.5
    np.testing.assert_allclose(gradient, theirs, rtol=1e-4, atol=1e-5 * np.abs(theirs).max())


@pytest.mark.parametrize("name", FAMILIES)
def test_it_is_that_of_automatic_differentiation(
    name: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = save_random(tmp_path_factory.mktemp("m"), name.partition(":")[0], **CASES[name])
    model = load_model(str(folder))
    assert_same_gradient(model, graph=model.graph(grouped=name == "llama"))


def test_direct_edges_several_positions_and_means(tiny: Tiny) -> None:
    prompts = replace(
        random_prompts(batch=3, longest=6),
        score_at=np.array([[5, 1], [0, 1], [1, 0]]),
        answer=None,
        distractor=None,
        scores="positions",
        weights=np.array([[0.5, 0.5], [0.5, 0.5], [1, 0]], np.float32),
    )
    assert_same_gradient(
        tiny.ours, prompts=prompts, graph=tiny.ours.graph(direct=True), ablation="mean"
    )


def test_models_without_mlps(deep: Tiny) -> None:
    assert_same_gradient(deep.ours)


def test_it_needs_no_more_memory_than_is_planned(deep: Tiny) -> None:
    """Where jax needs three times as much, since it keeps all writers' values for each layer."""
    experiment = Experiment(deep.ours, random_prompts(batch=8), metric="kl", frontier=False)
    runs = experiment._masked
    (batch,) = runs.batches
    mask = jnp.ones(experiment.graph.n_edges)
    programs: tuple[Any, Any] = (run_losses_and_gradient, differentiate)
    ours = programs[0].lower(runs.model, mask, runs.grid, batch, runs.metric).compile().compiled
    theirs = programs[1].lower(runs.model, mask, runs.grid, batch).compile()
    planned = 2 * 8 * estimate_row_bytes(deep.ours.spec, experiment.graph, 9)
    assert ours.memory_analysis().temp_size_in_bytes < planned
    assert theirs.memory_analysis().temp_size_in_bytes > 3 * planned


@pytest.mark.parametrize("ablation", ["resample", "mean-positional"])
def test_parts_of_a_batch_add_up(tiny: Tiny, ablation: str) -> None:
    settings: dict[str, Any] = {"prompts": random_prompts(longest=7), "ablation": ablation}
    whole = Experiment(tiny.ours, **settings, frontier=False)
    plans = {
        limit: choose_batch_sizes(tiny.ours.spec, whole.graph, 5, 7, limit)
        for limit in range(whole.sizes.bytes_needed, 0, -(2**14))
        if limit > whole.sizes.bytes_needed // 2
    }
    limit = next(n for n, sizes in plans.items() if sizes.gradient_prompts < sizes.prompts == 5)
    cut = Experiment(tiny.ours, **settings, frontier=False, memory=limit)
    assert cut.sizes.gradient_prompts == 2  # the last part is smaller
    mask = np.random.default_rng(0).random(whole.graph.n_edges)
    for one, other in zip(whole.loss_and_gradient(mask), cut.loss_and_gradient(mask), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)
