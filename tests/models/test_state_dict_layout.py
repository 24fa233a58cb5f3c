"""State dicts in the toys' layout compute what the toys compute, or are refused by name."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from circuitgraph.errors import ModelError
from circuitgraph.models.language_model import LanguageModel
from circuitgraph.models.loading import load_model
from tests.models.checkpoint_files import gate
from tests.models.toys import SIZES, Toy, random_weights, toy_config

Tensors = dict[str, torch.Tensor]
TOKENS = torch.tensor(np.random.default_rng(0).integers(0, SIZES["d_vocab"], (3, 6)))


def save_toy(folder: Path, weights: Tensors) -> Path:
    torch.save(weights, folder / "toy.pt")
    return folder / "toy.pt"


def assert_same_logits(model: LanguageModel, toy: Toy, tokens: torch.Tensor = TOKENS) -> None:
    theirs = toy.run(tokens)["logits"].numpy()
    assert np.abs(theirs).max() > 0.5, "logits so small that agreement would mean nothing"
    np.testing.assert_allclose(model.logits(tokens.numpy()), theirs, rtol=0, atol=gate(theirs))


def refusal(path: Path, config: dict[str, Any]) -> str:
    with pytest.raises(ModelError) as caught:
        load_model(path, config=config)
    return str(caught.value)


def rename(pattern: str, new: str) -> Callable[[Tensors], Tensors]:
    return lambda weights: {re.sub(pattern, new, name): w for name, w in weights.items()}


@pytest.mark.parametrize("mlp_bias", [False, True])
def test_the_toys_layout(tmp_path: Path, mlp_bias: bool) -> None:
    weights, config = random_weights(SIZES, mlp_bias=mlp_bias), toy_config()
    mask = {f"blocks.{i}.attn.mask": torch.ones(6, 6).tril() for i in range(2)}
    model = load_model(save_toy(tmp_path, weights | mask), config=config)
    spec = model.spec
    assert (spec.qkv_bias, spec.o_bias, spec.unembed_bias) == (False, False, False)
    assert (spec.mlp_bias, spec.d_mlp, spec.d_vocab_out) == (mlp_bias, 10, 7)
    assert_same_logits(model, Toy(weights, config))


@pytest.mark.parametrize(
    "change",
    [
        rename(r"^blocks\.(\d+)\.", r"attn_blocks.\1."),
        rename(r"^blocks\.(\d+)\.attn\.", r"attn_blocks.\1."),
        rename(r"^(embed|pos_embed|unembed)\.", ""),
    ],
)
def test_other_names(tmp_path: Path, change: Callable[[Tensors], Tensors]) -> None:
    config = toy_config(attn_only=True)
    weights = random_weights(config)
    save_file(change(weights), tmp_path / "toy.safetensors")
    model = load_model(tmp_path / "toy.safetensors", config=config)
    assert_same_logits(model, Toy(weights, config))


def test_one_tensor_under_two_names_is_refused(tmp_path: Path) -> None:
    weights = random_weights(SIZES)
    path = save_toy(tmp_path, weights | {"W_E": weights["embed.W_E"]})
    assert "both W_E and embed.W_E" in refusal(path, toy_config())


SQUARE: dict[str, Any] = {"d_vocab": 12, "d_mlp": 12}


def test_square_matrices_lie_as_the_others(tmp_path: Path) -> None:
    config = toy_config(**SQUARE)
    weights = random_weights(config)
    assert weights["embed.W_E"].shape == (12, 12)
    model = load_model(save_toy(tmp_path, weights), config=config)
    assert_same_logits(model, Toy(weights, config))


def test_square_matrices_beside_both_layouts_need_the_configuration(tmp_path: Path) -> None:
    """W_O of TransformerLens and W_Q the other way round: W_E may lie either way."""
    config = toy_config(**SQUARE, attn_only=True)
    weights = random_weights(config)
    mixed = dict(weights)
    for layer in range(2):
        w_o = weights[f"blocks.{layer}.attn.W_O"].reshape(12, 3, 4)
        mixed[f"blocks.{layer}.attn.W_O"] = w_o.permute(1, 2, 0).contiguous()
    path = save_toy(tmp_path, mixed)
    message = refusal(path, config)
    assert "nothing says which way round" in message
    assert "embed.W_E [12, 12]" in message
    assert_same_logits(
        load_model(path, config=config | {"layout": "transposed"}), Toy(weights, config)
    )
    turned = weights | {"embed.W_E": weights["embed.W_E"].T}
    assert_same_logits(
        load_model(path, config=config | {"layout": "transformer_lens"}), Toy(turned, config)
    )
    assert "layout = 'sideways'; known are" in refusal(path, config | {"layout": "sideways"})


def test_a_matrix_turned_in_one_layer_only_is_refused(tmp_path: Path) -> None:
    weights = random_weights(SIZES)
    weights["blocks.1.attn.W_Q"] = weights["blocks.1.attn.W_Q"].transpose(1, 2).contiguous()
    message = refusal(save_toy(tmp_path, weights), toy_config())
    assert "wrong shape: blocks.0.attn.W_Q has [3, 4, 12]" in message


@pytest.mark.parametrize("tensor", ["blocks.1.mlp.b_in", "blocks.0.mlp.b_out"])
def test_a_bias_that_some_layers_have_must_be_in_all(tmp_path: Path, tensor: str) -> None:
    weights = random_weights(SIZES, mlp_bias=True)
    del weights[tensor]
    assert f"missing: {tensor}" in refusal(save_toy(tmp_path, weights), toy_config())


def to_lens(weights: Tensors) -> Tensors:
    """The same matrices as TransformerLens has them, without biases."""
    turned = {}
    for name, w in weights.items():
        if name.endswith("W_O"):
            turned[name] = w.reshape(12, 3, 4).permute(1, 2, 0).contiguous()
        elif re.search("W_(E|Q|K|V|in|out)$", name):
            turned[name] = w.transpose(-1, -2).contiguous()
        else:
            turned[name] = w
    return turned


def test_a_hooked_transformer_has_all_biases_or_none(tmp_path: Path) -> None:
    weights, config = random_weights(SIZES), toy_config()
    path = save_toy(tmp_path, to_lens(weights))
    assert_same_logits(load_model(path, config=config), Toy(weights, config))
    biases = {f"blocks.{i}.mlp.b_in": torch.zeros(10) for i in range(2)}
    message = refusal(save_toy(tmp_path, to_lens(weights) | biases), config)
    assert "missing: unembed.b_U" in message
    assert "missing: blocks.0.mlp.b_out" in message
