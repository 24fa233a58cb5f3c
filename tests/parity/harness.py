"""Random checkpoints of any family, written to disk and loaded back through the real path."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import torch
from transformers import AutoConfig, AutoModelForCausalLM
from transformers.utils import logging

from circuitgraph.models.language_model import LanguageModel
from circuitgraph.models.transformer import Transformer

LENGTH = 13  # longer than every window and original context of the cases


def save_random(folder: Path, model_type: str, seed: int = 0, **fields: Any) -> Path:
    """Write a random model whose weights are large enough that every setting shows in the logits."""
    config = AutoConfig.for_model(model_type, bos_token_id=None, eos_token_id=None, pad_token_id=None, **fields)
    torch.manual_seed(seed)
    logging.disable_progress_bar()
    model: Any = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.normal_(0, 0.3)
            else:
                parameter.add_(0.2 * torch.randn_like(parameter))
    model.save_pretrained(folder)
    return folder


def random_tokens(vocab: int, batch: int = 3, length: int = LENGTH, seed: int = 0) -> np.ndarray:
    """Full-length prompts of random tokens."""
    return np.random.default_rng(seed).integers(0, vocab, (batch, length))


def run_ours(model: LanguageModel, tokens: np.ndarray) -> np.ndarray:
    """Our logits of full-length prompts, in float32 at least."""
    positions = np.broadcast_to(np.arange(tokens.shape[1]), tokens.shape)
    logits = _run(model.transformer, jnp.asarray(tokens), jnp.ones(tokens.shape, bool), jnp.asarray(positions))
    return np.asarray(logits.astype(jnp.promote_types(logits.dtype, jnp.float32)))


@eqx.filter_jit
def _run(network: Transformer, tokens: Any, mask: Any, positions: Any) -> Any:
    return network(tokens, mask, positions)


def gate(reference: np.ndarray) -> float:
    """The parity gate of the design: max(1e-4, 1e-5 * largest logit)."""
    return max(1e-4, 1e-5 * float(np.abs(reference).max()))
