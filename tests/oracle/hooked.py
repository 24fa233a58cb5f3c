"""The same circuit, run by hooks inside Hugging Face's own forward pass: what the oracle is itself judged by.

Nothing of attention, residual stream or unembedding is written out here. Hooks note what writers add, and
overwrite what readers see. The replacements are handed in, so this shares no arithmetic with `run.py` either.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import product
from typing import Any

import torch
from torch import Tensor
from torch.nn import Module
from torch.utils.hooks import RemovableHandle
from transformers import GPT2LMHeadModel


@dataclass
class Trace:
    """One Hugging Face forward pass: writers' values, the residual at each norm's input, all logits."""

    writers: dict[str, Tensor] = field(default_factory=dict)
    residual: dict[str, Tensor] = field(default_factory=dict)
    logits: Tensor = field(default_factory=lambda: torch.empty(0))


@contextmanager
def installed(*handles: RemovableHandle) -> Iterator[None]:
    """Remove the hooks at the end, whatever happens."""
    with ExitStack() as stack:
        for handle in handles:
            stack.callback(handle.remove)
        yield


def split_heads(model: GPT2LMHeadModel, layer: int, mixed: Tensor) -> dict[str, Tensor]:
    """What each head adds to the residual, from the input of c_proj."""
    heads = model.config.n_head
    block: Any = model.transformer.h[layer]  # torch types no sub-modules
    parts, weights = mixed.chunk(heads, dim=-1), block.attn.c_proj.weight.chunk(heads)
    return {f"a{layer}.h{head}": parts[head] @ weights[head] for head in range(heads)}


def watch_writers(model: GPT2LMHeadModel, writers: dict[str, Tensor]) -> list[RemovableHandle]:
    """Hooks that note every writer's value of the pass under way."""
    gpt: Any = model.transformer
    handles = [gpt.drop.register_forward_hook(lambda _module, _args, out: writers.update(embed=out))]
    for layer, block in enumerate(gpt.h):

        def note_heads(_, args: tuple[Tensor], layer: int = layer) -> None:
            writers.update(split_heads(model, layer, args[0]))

        def note_mlp(_, args: tuple[Tensor], out: Tensor, layer: int = layer) -> None:
            writers[f"m{layer}"] = out

        handles += [
            block.attn.c_proj.register_forward_pre_hook(note_heads),
            block.mlp.register_forward_hook(note_mlp),
        ]
    return handles


@torch.no_grad()
def trace(model: GPT2LMHeadModel, tokens: Tensor, mask: Tensor) -> Trace:
    """An untouched forward pass, watched."""
    seen = Trace()
    gpt: Any = model.transformer
    norms = {"logits": gpt.ln_f}
    for layer, block in enumerate(gpt.h):
        norms |= {f"a{layer}": block.ln_1, f"m{layer}": block.ln_2}
    handles = watch_writers(model, seen.writers)
    for site, norm in norms.items():

        def note(_, args: tuple[Tensor], site: str = site) -> None:
            seen.residual[site] = args[0]

        handles.append(norm.register_forward_pre_hook(note))
    with installed(*handles):
        seen.logits = model(tokens, attention_mask=mask, use_cache=False).logits
    return seen


@torch.no_grad()
def hooked_logits(
    model: GPT2LMHeadModel,
    clean: Tensor,
    mask: Tensor,
    corrupted: Trace,
    replacement: dict[str, Tensor],
    kept: set[str],
    direct: bool = False,
) -> Tensor:
    """Logits [batch, position, vocab] of the circuit `kept`, by hooks alone."""
    gpt: Any = model.transformer
    now: dict[str, Tensor] = {}

    def base(site: str) -> Tensor:
        """The corrupted residual, with each writer in it exchanged for its replacement; constants stay."""
        upstream = [writer for writer in corrupted.writers if writer in now]
        return corrupted.residual[site] + sum(replacement[w] - corrupted.writers[w] for w in upstream)

    def seen_by(reader: str, site: str) -> Tensor:
        present = [writer for writer in now if f"{writer}->{reader}" in kept]
        if direct and "<" in reader and f"{reader}->{reader[:-3]}" not in kept:
            present = []
        return base(site) + sum(now[writer] - replacement[writer] for writer in present)

    handles = watch_writers(model, now)
    for layer, block in enumerate(gpt.h):

        def overwrite_qkv(module: Module, args: tuple[Tensor], out: Tensor, layer: int = layer) -> Tensor:
            parts = []
            for index, (letter, head) in enumerate(product("qkv", range(model.config.n_head))):
                residual = seen_by(f"a{layer}.h{head}<{letter}>", f"a{layer}")
                projected = module.forward(gpt.h[layer].ln_1(residual))  # .forward: past this very hook
                parts.append(projected.chunk(3 * model.config.n_head, dim=-1)[index])
            return torch.cat(parts, dim=-1)

        def overwrite_mlp(_, args: tuple[Tensor], layer: int = layer) -> Tensor:
            return seen_by(f"m{layer}", f"m{layer}")

        handles += [
            block.attn.c_attn.register_forward_hook(overwrite_qkv),
            block.ln_2.register_forward_pre_hook(overwrite_mlp),
        ]
    handles.append(gpt.ln_f.register_forward_pre_hook(lambda _module, _args: seen_by("logits", "logits")))
    with installed(*handles):
        return model(clean, attention_mask=mask, use_cache=False).logits
