"""The rules of gradient interaction modifications, by hooks on gradients: the same values."""

from typing import Any

import torch
from torch import Tensor

from .families.gpt2 import GPT2
from .families.llama import Llama
from .relevance import layer_norm

TEMPERATURE = 3.0  # not the default, so that a constant in its place is seen


def scale_gradient(x: Tensor, share: float) -> Tensor:
    """``x``, whose gradient is multiplied on its way back."""
    x = x.clone()
    if x.requires_grad:
        x.register_hook(lambda gradient: share * gradient)
    return x


class WarmSoftmax(torch.autograd.Function):
    """A softmax whose Jacobian, ``diag(s) - s s'``, is written out for a warmer ``s``."""

    @staticmethod
    def forward(ctx: Any, scores: Tensor) -> Tensor:
        ctx.save_for_backward(scores)
        return scores.softmax(-1)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        warm = (ctx.saved_tensors[0] / TEMPERATURE).softmax(-1)
        jacobian = torch.diag_embed(warm) - warm[..., :, None] * warm[..., None, :]
        return (jacobian @ gradients[0][..., None])[..., 0]


class InteractionGPT2(GPT2):
    def project(self, layer: int, letter: str, index: int, x: Tensor) -> Tensor:
        block, width = self.base.h[layer], self.config.n_embd // self.sizes.heads
        start = ("qkv".index(letter) * self.sizes.heads + index) * width
        columns = slice(start, start + width)
        projection = block.attn.c_attn
        seen = layer_norm(block.ln_1, x)
        projected = seen @ projection.weight[:, columns] + projection.bias[columns]
        return scale_gradient(projected, 0.5 if letter == "v" else 0.25)

    def pattern(self, layer: int, head: int, scores: Tensor) -> Tensor:
        return WarmSoftmax.apply(scores)  # pyright: ignore[reportReturnType]

    def mlp(self, layer: int, x: Tensor) -> Tensor:
        block = self.base.h[layer]
        return block.mlp(layer_norm(block.ln_2, x))

    def logits(self, x: Tensor) -> Tensor:
        return self.model.lm_head(layer_norm(self.base.ln_f, x))


class InteractionLlama(Llama):
    def factor(self, module: Any, x: Tensor) -> Tensor:
        return super().factor(module, x).detach()

    def project(self, layer: int, letter: str, index: int, x: Tensor) -> Tensor:
        projected = super().project(layer, letter, index, x)
        return scale_gradient(projected, 0.5 if letter == "v" else 0.25)

    def pattern(self, layer: int, head: int, scores: Tensor) -> Tensor:
        return WarmSoftmax.apply(scores)  # pyright: ignore[reportReturnType]

    def mlp(self, layer: int, x: Tensor) -> Tensor:
        block = self.base.layers[layer]
        x = self.norm(block.post_attention_layernorm, x)
        gate, up = block.mlp.act_fn(block.mlp.gate_proj(x)), block.mlp.up_proj(x)
        return block.mlp.down_proj(scale_gradient(gate, 0.5) * scale_gradient(up, 0.5))


MODIFIED = {"gpt2": InteractionGPT2, "llama": InteractionLlama}
