"""Packed patched runs are plain runs with an edit, in families whose attention is not GPT-2's:
windows and soft caps, biases by position, sinks and experts, layers in parallel, post-norms.
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from circuitgraph.engine.batch import Batch, make_batch, take_scored
from circuitgraph.engine.readings.patched import write_parts
from circuitgraph.engine.readings.patching import pair_sides
from circuitgraph.engine.trace import trace_model
from circuitgraph.tasks.metrics import metrics
from tests.checkpoints import Tiny, load_tiny, random_prompts
from tests.parity.cases import CASES
from tests.parity.harness import save_random, unpolished

FAMILIES = ["gemma2", "bloom", "gpt_oss", "cohere"]


@pytest.fixture(scope="module", params=FAMILIES)
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    folder = tmp_path_factory.mktemp("m")
    return load_tiny(save_random(folder, request.param, **CASES[request.param]))


@unpolished
def run_edited(network: Any, batch: Batch, put_in: Any, layer: Any, at: Any) -> Any:
    """Answers' logits of the corrupted run in which one MLP writes what it writes in the clean."""

    def edit(data: Any, name: str, value: Any) -> Any:
        if name != "mlp":
            return value
        number, clean = data
        here = (number == layer) & (jnp.arange(value.shape[1]) == at[:, None])
        return jnp.where(here[..., None], clean, value)

    assert batch.corrupted is not None
    assert batch.targets.answer is not None
    data = (jnp.arange(network.spec.n_layers), put_in)
    final = trace_model(network, batch.corrupted, edit=edit, layer_data=data).final
    logits = network.unembed(take_scored(final, batch.inputs.score_at))
    return jnp.take_along_axis(logits[:, 0], batch.targets.answer, axis=1)[:, 0]


def test_an_mlp_is_patched_as_an_edit_would(model: Tiny) -> None:
    network, spec = model.ours.transformer, model.ours.spec
    batch = make_batch(random_prompts(spec.d_vocab, batch=3, longest=9))
    patching = pair_sides(network, batch, (metrics["logit"],), noising=False)
    put_in = write_parts(network, patching.donor, "mlp")
    lengths = patching.places.length
    columns = np.stack([np.zeros_like(lengths), lengths - 3, lengths - 1], axis=1)
    moved = 0.0
    for layer in (0, spec.n_layers - 1):
        ours = patching.measure_patches("mlp", layer, [0], columns)[0, :, 0]
        for values, at in zip(ours, columns.T, strict=True):
            expected = np.asarray(run_edited(network, batch, put_in, layer, at))
            size = max(1.0, np.abs(expected).max())
            np.testing.assert_allclose(values, expected, atol=5e-5 * size)
            moved = max(moved, np.abs(values - patching.measure_base()[0]).max())
    assert moved > 0.01


def test_all_of_a_stream_makes_the_other_side(model: Tiny) -> None:
    network, spec = model.ours.transformer, model.ours.spec
    batch = make_batch(random_prompts(spec.d_vocab, batch=3, longest=9))
    for noising in (True, False):
        patching = pair_sides(network, batch, (metrics["logit"],), noising=noising)
        for layer in (0, 1, spec.n_layers):
            (values,) = patching.measure_patches("residual", layer, [0], None)
            expected = patching.measure_donor()
            np.testing.assert_allclose(values[0], expected, atol=5e-5 * np.abs(expected).max())
