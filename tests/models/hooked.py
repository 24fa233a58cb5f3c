"""A stand-in for transformer_lens: what of HookedTransformer a comparison needs, without norms."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

Hooks = list[tuple[str, Callable[..., Any]]]


@dataclass
class HookedConfig:
    """The fields that the stand-in knows; the library's has many more."""

    n_layers: int
    d_model: int
    n_heads: int
    d_head: int
    n_ctx: int
    d_mlp: int
    d_vocab: int
    d_vocab_out: int
    act_fn: str
    normalization_type: None
    device: str = "cpu"
    dtype: torch.dtype = torch.float32


class HookedModel:
    """Weights by TransformerLens's names, run in TransformerLens's order with its hook points."""

    def __init__(self, config: HookedConfig) -> None:
        self.config = config
        c = config
        shapes: dict[str, tuple[int, ...]] = {"embed.W_E": (c.d_vocab, c.d_model)}
        shapes |= {"pos_embed.W_pos": (c.n_ctx, c.d_model)}
        shapes |= {"unembed.W_U": (c.d_model, c.d_vocab_out), "unembed.b_U": (c.d_vocab_out,)}
        for i in range(c.n_layers):
            shapes |= {f"blocks.{i}.attn.W_{x}": (c.n_heads, c.d_model, c.d_head) for x in "QKV"}
            shapes |= {f"blocks.{i}.attn.b_{x}": (c.n_heads, c.d_head) for x in "QKV"}
            shapes[f"blocks.{i}.attn.W_O"] = (c.n_heads, c.d_head, c.d_model)
            shapes[f"blocks.{i}.attn.b_O"] = (c.d_model,)
            shapes |= {f"blocks.{i}.mlp.W_in": (c.d_model, c.d_mlp)}
            shapes |= {f"blocks.{i}.mlp.b_in": (c.d_mlp,), f"blocks.{i}.mlp.b_out": (c.d_model,)}
            shapes |= {f"blocks.{i}.mlp.W_out": (c.d_mlp, c.d_model)}
        self.weights = {name: torch.full(shape, torch.nan) for name, shape in shapes.items()}
        self.masks = {
            f"blocks.{i}.attn.mask": torch.ones(c.n_ctx, c.n_ctx).tril().bool()
            for i in range(c.n_layers)
        }

    def state_dict(self) -> dict[str, Tensor]:
        return self.weights | self.masks

    def named_parameters(self) -> Any:
        return self.weights.items()

    def load_state_dict(self, weights: dict[str, Tensor]) -> None:
        problems = [k for k, v in self.state_dict().items() if weights[k].shape != v.shape]
        problems += sorted(set(weights) ^ set(self.state_dict()))
        if problems:
            raise RuntimeError("\n\t".join(["Error(s) in loading state_dict:", *problems]))
        self.weights = {name: weights[name] for name in self.weights}

    def eval(self) -> HookedModel:
        return self

    def run_with_hooks(self, tokens: Tensor, *, return_type: str, fwd_hooks: Hooks) -> Tensor:
        assert return_type == "logits"

        def at(name: str, value: Tensor) -> Tensor:
            for hook in (hook for where, hook in fwd_hooks if where == name):
                changed = hook(value, hook=SimpleNamespace(name=name))
                value = value if changed is None else changed
            return value

        w, n = self.weights, tokens.shape[1]
        x = w["embed.W_E"][tokens] + w["pos_embed.W_pos"][:n]
        for i in range(self.config.n_layers):
            x = at(f"blocks.{i}.hook_resid_pre", x)
            p = {key.rsplit(".", 1)[1]: v for key, v in w.items() if f"blocks.{i}." in key}
            q, k, v = (
                torch.einsum("bpd,hde->bhpe", x, p[f"W_{y}"]) + p[f"b_{y}"][:, None] for y in "QKV"
            )
            scores = q @ k.transpose(-1, -2) / math.sqrt(self.config.d_head)
            causal = self.masks[f"blocks.{i}.attn.mask"][:n, :n]
            scores = at(f"blocks.{i}.attn.hook_attn_scores", scores.where(causal, -torch.inf))
            pattern = at(f"blocks.{i}.attn.hook_pattern", scores.softmax(-1).nan_to_num())
            x = x + torch.einsum("bhpe,hed->bpd", pattern @ v, p["W_O"]) + p["b_O"]
            x = x + torch.relu(x @ p["W_in"] + p["b_in"]) @ p["W_out"] + p["b_out"]
            x = at(f"blocks.{i}.hook_resid_post", x)
        return x @ w["unembed.W_U"] + w["unembed.b_U"]


class LouderModel(HookedModel):
    """Its logits are not the model's."""

    def run_with_hooks(self, tokens: Tensor, **options: Any) -> Tensor:
        return 1.001 * super().run_with_hooks(tokens, **options)


def pretend_library(model: type[HookedModel] = HookedModel) -> Any:
    """What ``import transformer_lens`` gives, with that class as its HookedTransformer."""
    return SimpleNamespace(HookedTransformer=model, HookedTransformerConfig=HookedConfig)
