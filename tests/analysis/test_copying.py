"""Copying: the whole circuits from tokens to logits, written out, and heads that copy."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import circuitgraph as cg
from circuitgraph.analysis.copying import read_copying, share_positive
from circuitgraph.engine.readings.copying import run_copying
from circuitgraph.engine.readings.head_matrices import embed_tokens
from circuitgraph.errors import ArgumentError
from circuitgraph.models.language_model import LanguageModel
from tests.checkpoints import Tiny, load_tiny, save_tiny
from tests.parity.cases import CASES
from tests.parity.harness import save_random

TOKENS = np.arange(0, 40, 7, dtype=np.int32)


def gpt2_circuit(hf: Any, layer: int, head: int) -> torch.Tensor:
    """From tokens to logits, [vocab, vocab]: what a token's value adds to each logit."""
    block, final, width = hf.transformer.h[layer], hf.transformer.ln_f, hf.config.n_embd
    x = hf.transformer.wte.weight
    x = torch.nn.functional.layer_norm(x, [width], block.ln_1.weight, None, block.ln_1.eps)
    part = slice(head * width // 4, (head + 1) * width // 4)
    v = x @ block.attn.c_attn.weight[:, 2 * width :][:, part]
    written = v @ block.attn.c_proj.weight[part]
    return (written - written.mean(-1, keepdim=True)) * final.weight @ hf.lm_head.weight.T


def gemma2_circuit(hf: Any, layer: int, head: int) -> torch.Tensor:
    """The same, with two query heads on each value, and a norm after the attention."""
    block, width = hf.model.layers[layer], hf.config.head_dim
    x = hf.model.embed_tokens.weight * hf.config.hidden_size**0.5
    x = x / torch.sqrt((x**2).mean(-1, keepdim=True) + hf.config.rms_norm_eps)
    x = x * (1 + block.input_layernorm.weight)
    group = hf.config.num_attention_heads // hf.config.num_key_value_heads
    own = head // group
    v = x @ block.self_attn.v_proj.weight[own * width : (own + 1) * width].T
    o = v @ block.self_attn.o_proj.weight[:, head * width : (head + 1) * width].T
    o = o * (1 + block.post_attention_layernorm.weight)
    return o * (1 + hf.model.norm.weight) @ hf.lm_head.weight.T


@pytest.mark.parametrize("family", ["gpt2", "gemma2"])
def test_eigenvalues_are_those_of_the_whole_circuits(tmp_path: Path, family: str) -> None:
    if family == "gpt2":
        tiny, make_circuit = save_tiny(tmp_path, n_layer=2), gpt2_circuit
    else:
        tiny = load_tiny(save_random(tmp_path, family, **CASES[family]))
        make_circuit = gemma2_circuit
    run = run_copying(tiny.ours.transformer, TOKENS, "embedding")
    for layer, head in ((0, 1), (1, 3)):
        with torch.no_grad():
            whole = make_circuit(tiny.hf.double(), layer, head).numpy()
        whole = whole - whole.mean(1, keepdims=True)  # what raises all logits alike raises none
        ours = np.linalg.eigvals(np.asarray(run.cores, np.float64)[layer, head])
        theirs = np.linalg.eigvals(whole)
        theirs = theirs[np.argsort(-np.abs(theirs))][: len(ours)]
        for ordered in (np.real, np.imag):
            np.testing.assert_allclose(
                np.sort(ordered(ours)), np.sort(ordered(theirs)), atol=1e-4 * np.abs(theirs).max()
            )
        ranks = (whole[TOKENS] > whole[TOKENS, TOKENS][:, None]).sum(1)
        np.testing.assert_array_equal(run.ranks[layer, head], ranks)


def test_the_induction_head_copies(shipped: LanguageModel) -> None:
    record = cg.analyze(shipped, None, "copying", n_tokens=50, top=2)
    most, least = record.reading.tables
    name, share, raised, chance = most.rows[0]
    assert name == "a1.h6"
    assert isinstance(share, float)
    assert share > 0.99
    assert raised.low > 0.8  # pyright: ignore[reportAttributeAccessIssue, reportOptionalMemberAccess]
    assert chance == pytest.approx(10 / 98)
    assert [row[0] for row in most.rows] == ["a1.h6", "a0.h3"]
    assert all(isinstance(row[1], float) and row[1] < 0 for row in least.rows)


def test_the_share_of_positive_eigenvalues() -> None:
    values = np.array([[1.0, 2.0], [1.0, -3.0], [0.0, 0.0]])
    np.testing.assert_allclose(share_positive(values), [1.0, -0.5, np.nan])


def test_the_first_mlp_may_read_tokens_first(tiny: Tiny) -> None:
    first = tiny.hf.transformer.h[0]
    with torch.no_grad():
        x = tiny.hf.transformer.wte.weight
        theirs = x + first.mlp(first.ln_2(x))
    ours = embed_tokens(tiny.ours.transformer, "first-mlp")
    np.testing.assert_allclose(ours, theirs.numpy(), atol=1e-5)


def test_models_that_predict_other_things_are_refused(tiny: Tiny) -> None:
    network = tiny.ours.transformer
    other = replace(network, spec=replace(network.spec, d_vocab_out=3))
    with pytest.raises(ArgumentError, match="reads 50 tokens and predicts 3 others"):
        read_copying(replace(tiny.ours, transformer=other))
