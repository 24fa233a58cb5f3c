"""Relevance rules written into the families: the same values, other gradients."""

from typing import Any

from torch import Tensor

from .families.gpt2 import GPT2
from .families.llama import Llama


def layer_norm(module: Any, x: Tensor) -> Tensor:
    """With a standard deviation that has no gradient."""
    centred = x - x.mean(-1, keepdim=True)
    return (
        centred
        / (centred.pow(2).mean(-1, keepdim=True) + module.eps).sqrt().detach()
        * module.weight
        + module.bias
    )


def scale_activation(activation: Any, x: Tensor) -> Tensor:
    """The activation as a product of its input and a constant."""
    return x * (activation(x) / x).detach()


class RelevanceGPT2(GPT2):
    def project(self, layer: int, letter: str, index: int, x: Tensor) -> Tensor:
        block, width = self.base.h[layer], self.config.n_embd // self.sizes.heads
        start = ("qkv".index(letter) * self.sizes.heads + index) * width
        columns = slice(start, start + width)
        projection = block.attn.c_attn
        return layer_norm(block.ln_1, x) @ projection.weight[:, columns] + projection.bias[columns]

    def scores(self, layer: int, head: int, q: Tensor, k: Tensor) -> Tensor:
        return super().scores(layer, head, q, k).detach()

    def mlp(self, layer: int, x: Tensor) -> Tensor:
        block = self.base.h[layer]
        return block.mlp.c_proj(
            scale_activation(block.mlp.act, block.mlp.c_fc(layer_norm(block.ln_2, x)))
        )

    def logits(self, x: Tensor) -> Tensor:
        return self.model.lm_head(layer_norm(self.base.ln_f, x))


class RelevanceLlama(Llama):
    def factor(self, module: Any, x: Tensor) -> Tensor:
        return super().factor(module, x).detach()

    def scores(self, layer: int, head: int, q: Tensor, k: Tensor) -> Tensor:
        return super().scores(layer, head, q, k).detach()

    def mlp(self, layer: int, x: Tensor) -> Tensor:
        block = self.base.layers[layer]
        x = self.norm(block.post_attention_layernorm, x)
        gate, up = scale_activation(block.mlp.act_fn, block.mlp.gate_proj(x)), block.mlp.up_proj(x)
        return block.mlp.down_proj((gate * up.detach() + gate.detach() * up) / 2)


RULES = {"gpt2": RelevanceGPT2, "llama": RelevanceLlama}
