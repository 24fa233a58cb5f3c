"""The network that a checkpoint becomes: unembedding, MLPs, size, and prompts of every length."""

from __future__ import annotations

from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
import torch
from transformers import GPT2LMHeadModel

from circuitgraph.models.loading import load_model
from tests.models.checkpoint_files import (
    TOKENS,
    agrees,
    copy_of,
    edit_config,
    edit_weights,
    run_network,
    run_ours,
    run_theirs,
    write,
)


def test_untied_heads_are_kept_and_tied_ones_not_stored_twice(base: Path, tmp_path: Path) -> None:
    untied = load_model(write(tmp_path / "m", tie_word_embeddings=False))
    assert untied.transformer.unembedding is not None
    assert load_model(base).transformer.unembedding is None
    assert untied.n_parameters == load_model(base).n_parameters + 11 * 8


def test_untied_weights_under_a_config_that_says_tied_are_what_transformers_runs(
    tmp_path: Path,
) -> None:
    folder = write(tmp_path / "m", tie_word_embeddings=False)
    untied = run_theirs(folder, TOKENS)
    edit_config(folder, tie_word_embeddings=True)
    np.testing.assert_array_equal(agrees(folder), untied)


def test_the_number_of_parameters_is_that_of_transformers(base: Path) -> None:
    theirs = GPT2LMHeadModel.from_pretrained(base).num_parameters()
    assert load_model(base).n_parameters == theirs


@pytest.mark.parametrize("length", [1, 7])
def test_shortest_and_longest_prompts_agree(base: Path, length: int) -> None:
    agrees(base, TOKENS[:, :length])


def test_left_padding_with_explicit_positions_changes_nothing(base: Path) -> None:
    """A row of padding sees no token at all, and must not turn into NaN."""
    network, tokens = load_model(base).transformer, TOKENS[:, :4]
    padded = np.concatenate([np.zeros((4, 3), tokens.dtype), tokens], axis=1)
    mask = np.arange(7) >= 3
    positions = np.maximum(np.arange(7) - 3, 0)
    ours = run_network(
        network,
        jnp.asarray(padded),
        jnp.broadcast_to(mask, padded.shape),
        jnp.broadcast_to(positions, padded.shape),
    )
    assert np.isfinite(ours).all()
    np.testing.assert_allclose(ours[:, 3:], run_ours(network, tokens), atol=1e-4)


@pytest.mark.parametrize("tensor", ["weight", "bias", None])
def test_mlps_that_write_exactly_nothing_are_left_out(
    base: Path, tmp_path: Path, tensor: str | None
) -> None:
    """One number anywhere in one layer, weight or bias, keeps them all."""

    def silence(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        for name, value in tensors.items():
            if "mlp.c_proj" in name:
                value.zero_()
                value.view(-1)[0] = -0.0
        if tensor:
            tensors[f"transformer.h.1.mlp.c_proj.{tensor}"].view(-1)[-1] = 1e-3
        return tensors

    folder = copy_of(base, tmp_path / "m")
    edit_weights(folder, silence)
    model = load_model(folder)
    assert (model.spec.d_mlp is None) == (tensor is None) == (not model.graph().mlp)
    assert (model.transformer.blocks.mlp is None) == (tensor is None)
    agrees(folder)
