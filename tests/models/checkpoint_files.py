"""Helpers around one checkpoint: copy it, change its files, run it here and in transformers."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import torch
from safetensors.torch import load_file, save_file
from transformers import GPT2Config, GPT2LMHeadModel
from transformers.utils import logging

from circuitgraph.models.loading import load_model
from circuitgraph.models.transformer import Transformer
from tests.parity.harness import gate, unpolished

Tensors = dict[str, torch.Tensor]

BASE: dict[str, Any] = {"n_layer": 2, "n_head": 2, "n_embd": 8, "n_positions": 7, "vocab_size": 11}
TOKENS = np.random.default_rng(0).integers(0, 11, (4, 7))


def copy_of(folder: Path, target: Path) -> Path:
    """The checkpoint once more, to be changed."""
    return Path(shutil.copytree(folder, target))


def edit_config(folder: Path, **fields: Any) -> None:
    """Write fields into config.json, as somebody with an editor would."""
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def edit_weights(folder: Path, change: Callable[[Tensors], Tensors]) -> None:
    """Replace the tensors of model.safetensors."""
    path = folder / "model.safetensors"
    changed = change(load_file(path))
    save_file(
        {name: tensor.contiguous() for name, tensor in changed.items()},
        path,
        metadata={"format": "pt"},
    )


def run_ours(network: Transformer, tokens: np.ndarray) -> np.ndarray:
    """Our logits of full-length prompts."""
    positions = np.broadcast_to(np.arange(tokens.shape[1]), tokens.shape)
    return np.asarray(
        run_network(
            network, jnp.asarray(tokens), jnp.ones(tokens.shape, bool), jnp.asarray(positions)
        )
    )


@unpolished
def run_network(network: Transformer, tokens: Any, mask: Any, positions: Any) -> Any:
    return network(tokens, mask, positions)


def run_theirs(folder: Path, tokens: np.ndarray) -> np.ndarray:
    """Hugging Face's eager float32 logits of the same checkpoint."""
    model = GPT2LMHeadModel.from_pretrained(
        folder, attn_implementation="eager", dtype=torch.float32
    ).eval()
    model.config.return_dict = True  # a tuple holds the same logits
    with torch.no_grad():
        return model(torch.tensor(tokens).long()).logits.numpy()


def write(folder: Path, **shapes: Any) -> Path:
    """A checkpoint whose weights are large enough that every setting shows in the logits."""
    torch.manual_seed(0)
    settings: dict[str, Any] = {**BASE, "bos_token_id": None, "eos_token_id": None, **shapes}
    model = GPT2LMHeadModel(GPT2Config(**settings))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0, 0.6)
    logging.disable_progress_bar()
    model.save_pretrained(folder)
    return folder


def agrees(folder: Path, tokens: np.ndarray = TOKENS) -> np.ndarray:
    """Assert parity; hand out the logits."""
    theirs = run_theirs(folder, tokens)
    assert np.abs(run_ours(load_model(folder).transformer, tokens) - theirs).max() <= gate(theirs)
    return theirs
