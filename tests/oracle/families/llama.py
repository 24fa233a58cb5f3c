"""Llama and, with multipliers, Granite.

RMS norms are written out, not called: Hugging Face's compute in float32 whatever the model's dtype
is.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn import Module

from .base import Rotary, bias_of, own, rows


class Llama(Rotary):
    def embed(self, tokens: Tensor) -> Tensor:
        return self.base.embed_tokens(tokens)

    def project(self, layer: int, letter: str, index: int, x: Tensor) -> Tensor:
        block = self.base.layers[layer]
        chosen = own(index, block.self_attn.head_dim)
        return rows(
            getattr(block.self_attn, f"{letter}_proj"), chosen, self.norm(block.input_layernorm, x)
        )

    def visible(self, layer: int, mask: Tensor) -> Tensor:
        """A window of w shows the w latest positions, the query's own included."""
        visible = super().visible(layer, mask)
        return visible.triu(1 - self.config.sliding_window) if self.slides(layer) else visible

    def slides(self, layer: int) -> bool:
        kinds = getattr(self.config, "layer_types", None)
        return kinds is not None and kinds[layer] == "sliding_attention"

    def output(self, layer: int, head: int) -> Tensor:
        attention = self.base.layers[layer].self_attn
        return attention.o_proj.weight[:, own(head, attention.head_dim)].T

    def constant(self, layer: int) -> Tensor:
        return bias_of(self.base.layers[layer].self_attn.o_proj)

    def mlp(self, layer: int, x: Tensor) -> Tensor:
        block = self.base.layers[layer]
        return block.mlp(self.norm(block.post_attention_layernorm, x))

    def logits(self, x: Tensor) -> Tensor:
        return self.model.lm_head(self.norm(self.base.norm, x))

    def norm(self, module: Module, x: Tensor) -> Tensor:
        return x * self.factor(module, x)

    def factor(self, module: Any, x: Tensor) -> Tensor:
        """What the norm multiplies its input `x` by: the weight over the root mean square."""
        return module.weight * torch.rsqrt(
            x.pow(2).mean(-1, keepdim=True) + module.variance_epsilon
        )


class Granite(Llama):
    """Llama with multipliers; the residual's multiplier belongs to writers and constants."""

    def embed(self, tokens: Tensor) -> Tensor:
        return super().embed(tokens) * self.config.embedding_multiplier

    def scale(self, layer: int, head_dim: int) -> float:
        return self.config.attention_multiplier

    def output(self, layer: int, head: int) -> Tensor:
        return super().output(layer, head) * self.config.residual_multiplier

    def constant(self, layer: int) -> Tensor:
        return super().constant(layer) * self.config.residual_multiplier

    def mlp(self, layer: int, x: Tensor) -> Tensor:
        return super().mlp(layer, x) * self.config.residual_multiplier

    def logits(self, x: Tensor) -> Tensor:
        return super().logits(x) / self.config.logits_scaling
