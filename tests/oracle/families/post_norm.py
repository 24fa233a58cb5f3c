"""Gemma 2 and OLMo 2, which norm what a sublayer writes."""

from typing import Any

import torch
from torch import Tensor

from .base import own
from .llama import Llama


class PostNorm(Llama):
    """Llamas with norms behind sublayers; a head's value has its part of the factor."""

    def unsupported(self) -> str | None:
        if self.config.attention_bias:
            return (
                "attention_bias with a post-norm: the output bias would be no constant of the layer"
            )
        return None

    def finish(self, layer: int, shares: dict[str, Tensor]) -> dict[str, Tensor]:
        factor = self.factor(
            self.base.layers[layer].post_attention_layernorm, sum(shares.values(), torch.zeros(()))
        )
        return {name: share * factor for name, share in shares.items()}


class Gemma2(PostNorm):
    def unsupported(self) -> str | None:
        if self.config.use_bidirectional_attention:
            return "use_bidirectional_attention: the oracle attends to earlier positions only"
        return super().unsupported()

    def factor(self, module: Any, x: Tensor) -> Tensor:
        return (1 + module.weight) * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + module.eps)

    def scale(self, layer: int, head_dim: int) -> float:
        return self.config.query_pre_attn_scalar**-0.5

    def scores(self, layer: int, head: int, q: Tensor, k: Tensor) -> Tensor:
        return capped(super().scores(layer, head, q, k), self.config.attn_logit_softcapping)

    def mlp(self, layer: int, x: Tensor) -> Tensor:
        block = self.base.layers[layer]
        out = block.mlp(self.norm(block.pre_feedforward_layernorm, x))
        return self.norm(block.post_feedforward_layernorm, out)

    def logits(self, x: Tensor) -> Tensor:
        return capped(super().logits(x), self.config.final_logit_softcapping)


def capped(x: Tensor, cap: float | None) -> Tensor:
    return x if cap is None else cap * torch.tanh(x / cap)


class Olmo2(PostNorm):
    """No norm before a sublayer; queries and keys are normed over the width, all heads at once."""

    def project(self, layer: int, letter: str, index: int, x: Tensor) -> Tensor:
        attention = self.base.layers[layer].self_attn
        everything = getattr(attention, f"{letter}_proj")(
            x
        )  # all heads as they would be, were this their input
        if letter in "qk":
            everything = self.norm(getattr(attention, f"{letter}_norm"), everything)
        return everything[..., own(index, attention.head_dim)]

    def mlp(self, layer: int, x: Tensor) -> Tensor:
        block = self.base.layers[layer]
        return self.norm(block.post_feedforward_layernorm, block.mlp(x))
