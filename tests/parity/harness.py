"""Random checkpoints of any family, written to disk and loaded back through the real path."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch
from transformers import AutoConfig, AutoModelForCausalLM
from transformers.utils import logging

from circuitgraph.engine.ablation import Background
from circuitgraph.engine.batch import Inputs, unpadded_inputs
from circuitgraph.engine.grid import Grid
from circuitgraph.engine.masked.forward import compute_masked_logits
from circuitgraph.engine.masked.programs import run_writers
from circuitgraph.engine.values import Values
from circuitgraph.graph.graph import Graph
from circuitgraph.models.language_model import LanguageModel
from circuitgraph.models.transformer import Transformer

# Each program here runs once or twice, so that the machine code is left as it comes: the same
# operations of XLA, less polished by LLVM. What users run is compiled as they compile it: every
# test that goes through the engine's programs.
unpolished = partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
LENGTH = 13  # longer than every window and original context of the cases


def save_random(
    folder: Path, model_type: str, seed: int = 0, scale: float = 0.3, **fields: Any
) -> Path:
    """Write a random model whose weights are so large that every setting shows in the logits."""
    special = dict.fromkeys(("bos_token_id", "eos_token_id", "pad_token_id"))
    config = AutoConfig.for_model(model_type, **{**special, **fields})
    torch.manual_seed(seed)
    logging.disable_progress_bar()
    model: Any = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.normal_(0, scale)
            else:
                parameter.add_(0.2 * torch.randn_like(parameter))
        stored = model.state_dict()
        for name, buffer in model.named_buffers():
            if name in stored:  # a bias of routers
                buffer.add_(0.2 * torch.randn_like(buffer))
    model.save_pretrained(folder)
    return folder


def random_tokens(vocab: int, batch: int = 3, length: int = LENGTH, seed: int = 0) -> np.ndarray:
    """Full-length prompts of random tokens."""
    return np.random.default_rng(seed).integers(0, vocab, (batch, length))


def run_ours(
    model: LanguageModel, tokens: np.ndarray, mask: np.ndarray | None = None
) -> np.ndarray:
    """Our logits, in float32 at least; of full-length prompts if no mask is given."""
    positions = np.broadcast_to(np.arange(tokens.shape[1]), tokens.shape)
    mask = np.ones(tokens.shape, bool) if mask is None else mask
    logits = _run(model.transformer, jnp.asarray(tokens), jnp.asarray(mask), jnp.asarray(positions))
    return np.asarray(logits.astype(jnp.promote_types(logits.dtype, jnp.float32)))


@unpolished
def _run(network: Transformer, tokens: Any, mask: Any, positions: Any) -> Any:
    return network(tokens, mask, positions)


@unpolished
def run_masks(
    network: Transformer, masks: jax.Array, grid: Grid, replacements: Values, clean: Inputs
) -> jax.Array:
    """Logits under each mask; absent edges carry the ``replacements``."""
    background = Background.of(network, replacements)
    return jax.lax.map(
        lambda mask: compute_masked_logits(network, mask, grid, background, clean), masks
    )


def reversed_batch(network: Transformer, tokens: np.ndarray) -> Values:
    """Writer values in which a prompt's counterpart is another prompt."""
    written = run_writers(network, unpadded_inputs(tokens))
    return written.map_arrays(lambda each: each[:, ::-1])


def everywhere(tokens: np.ndarray) -> Inputs:
    """The prompts, each scored at every position."""
    at = np.broadcast_to(np.arange(tokens.shape[1], dtype=np.int32), tokens.shape)
    return unpadded_inputs(tokens)._replace(score_at=jnp.asarray(at))


def masks_without_one_node(graph: Graph) -> dict[str, np.ndarray]:
    """All edges but those into one reader, or out of one writer."""
    dst, src = graph.ends
    masks = {f"into {reader.name}": dst != i for i, reader in enumerate(graph.readers)}
    return masks | {f"out of {writer.name}": src != i for i, writer in enumerate(graph.writers)}


def gate(reference: np.ndarray) -> float:
    """The parity gate of the design: max(1e-4, 1e-5 * largest logit)."""
    return max(1e-4, 1e-5 * float(np.abs(reference).max()))
