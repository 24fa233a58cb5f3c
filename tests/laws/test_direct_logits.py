"""The identity of direct logit attribution: all parts sum to the logit, in every kind of family.

The logits are those of transformers, to which a soft cap is applied.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch

from circuitgraph.engine.batch import make_batch
from circuitgraph.engine.readings.direct import run_direct, run_direct_neurons
from tests.checkpoints import Tiny, load_tiny, random_prompts, save_tiny
from tests.parity.cases import CASES
from tests.parity.harness import save_random

# a layer norm with biases, root mean squares, post-norms, soft caps, scaled logits and residuals,
# parallel layers, sinks and experts, a normed embedding
FAMILIES = ["gpt2", "gemma2", "olmo2", "granite", "cohere", "gpt_oss", "bloom"]


@pytest.fixture(scope="module", params=FAMILIES)
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    folder = tmp_path_factory.mktemp("m")
    if request.param == "gpt2":
        return save_tiny(folder, n_layer=2)
    return load_tiny(save_random(folder, request.param, **CASES[request.param]))


def test_parts_sum_to_the_logit(model: Tiny) -> None:
    spec = model.ours.spec
    prompts = random_prompts(min(spec.d_vocab, spec.d_vocab_out), batch=3, longest=7)
    batch = make_batch(prompts)
    run = run_direct(model.ours.transformer, batch, False)
    parts = [run.embed, run.heads.sum((0, 1, 3)), run.mlps.sum(0), run.attention_biases.sum(0)]
    total = np.asarray(sum(parts, run.biases))
    np.testing.assert_allclose(total, run.total, atol=3e-5 * max(1, np.abs(total).max()))
    with torch.no_grad():
        out = model.hf(
            input_ids=torch.tensor(prompts.clean).long(),
            attention_mask=torch.tensor(prompts.mask).long(),
        ).logits.numpy()
    rows = np.arange(len(prompts))
    logits, cap = out[rows, prompts.score_at], spec.logit_softcap
    own = logits[rows, prompts.answer]
    capped = total if cap is None else np.tanh(total / cap) * cap
    np.testing.assert_allclose(capped, own, atol=1e-4 * max(1, np.abs(own).max()))
    if cap is None:
        difference = run_direct(model.ours.transformer, batch, True).total
        expected = own - logits[rows, prompts.distractor]
        np.testing.assert_allclose(difference, expected, atol=1e-4 * max(1, np.abs(own).max()))


def test_neurons_and_biases_sum_to_their_mlp(model: Tiny) -> None:
    """What an MLP writes when all its hidden values are zero is left over."""
    network, spec = model.ours.transformer, model.ours.spec
    if spec.experts is not None:
        pytest.skip("a mixture of experts has no single hidden values")
    batch = make_batch(random_prompts(spec.d_vocab, batch=3, longest=7))
    run = run_direct(network, batch, True)
    neurons = run_direct_neurons(network, batch, True, np.int32(1))
    mlp = network.select_layer(1)[0].mlp
    assert mlp is not None
    left = np.asarray(run.mlps[1] - neurons.sum(1))
    if mlp.b_out is None and (mlp.post_norm is None or mlp.post_norm.bias is None):
        np.testing.assert_allclose(left, 0, atol=3e-5 * max(1, np.abs(run.mlps).max()))
    else:
        assert np.abs(left).max() > 1e-3
