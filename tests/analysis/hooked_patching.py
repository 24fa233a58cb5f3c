"""Activation patching by plain torch hooks on transformers' GPT-2, one patch and run at a time."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from circuitgraph.tasks.prompts import Prompts
from tests.checkpoints import Tiny


def run_hooked(tiny: Tiny, tokens: Any, prompts: Prompts, hooks: dict[Any, Any]) -> np.ndarray:
    """Logits at the scored positions with hooks on the inputs of modules."""
    handles = [module.register_forward_pre_hook(hook) for module, hook in hooks.items()]
    with torch.no_grad():
        logits = tiny.hf(
            input_ids=torch.tensor(tokens).long(),
            attention_mask=torch.tensor(prompts.mask).long(),
        ).logits
    for handle in handles:
        handle.remove()
    return logits.numpy()[np.arange(len(prompts)), prompts.score_at]


def list_modules(tiny: Tiny, kind: str, layer: int) -> Any:
    """The module whose input is patched."""
    blocks = tiny.hf.transformer.h
    if kind == "residual":
        return blocks[layer] if layer < len(blocks) else tiny.hf.transformer.ln_f
    block = blocks[layer]
    return block.attn.c_proj if kind in ("attention", "head") else block.mlp.c_proj


def patch_hooked(
    tiny: Tiny, prompts: Prompts, kind: str, layer: int, number: int, at: Any, *, noising: bool
) -> np.ndarray:
    """Logits [batch, vocab] with one component's value from the other side.

    Args:
        at: a position of each prompt, or None for all.
    """
    base, donor = prompts.clean, prompts.corrupted
    if not noising:
        base, donor = donor, base
    module, kept = list_modules(tiny, kind, layer), []
    run_hooked(tiny, donor, prompts, {module: lambda _, args: kept.append(args[0].clone())})
    d_head = tiny.ours.spec.d_model // tiny.ours.spec.n_heads
    parts = {
        "head": slice(number * d_head, (number + 1) * d_head),
        "neuron": slice(number, number + 1),
    }
    part = parts.get(kind, slice(None))

    def put_in(_: Any, args: Any) -> Any:
        x = args[0].clone()
        if at is None:
            x[..., part] = kept[0][..., part]
        else:
            rows = np.arange(len(prompts))
            x[rows, at, part] = kept[0][rows, at, part]
        return (x, *args[1:])

    return run_hooked(tiny, base, prompts, {module: put_in})
