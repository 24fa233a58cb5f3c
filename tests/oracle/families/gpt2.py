"""GPT-2: learned positions, biases everywhere."""

import torch
from torch import Tensor

from .base import Family, own


class GPT2(Family):
    def embed(self, tokens: Tensor) -> Tensor:
        return self.base.wte(tokens) + self.base.wpe(torch.arange(tokens.shape[1]))

    def project(self, layer: int, letter: str, index: int, x: Tensor) -> Tensor:
        """c_attn, stored [in, out], holds all queries, then all keys, then all values."""
        block, heads = self.base.h[layer], self.sizes.heads
        columns = own("qkv".index(letter) * heads + index, self.config.n_embd // heads)
        return (
            block.ln_1(x) @ block.attn.c_attn.weight[:, columns] + block.attn.c_attn.bias[columns]
        )

    def scale(self, layer: int, head_dim: int) -> float:
        scale = head_dim**-0.5 if self.config.scale_attn_weights else 1.0
        return scale / (layer + 1) if self.config.scale_attn_by_inverse_layer_idx else scale

    def output(self, layer: int, head: int) -> Tensor:
        return self.base.h[layer].attn.c_proj.weight[
            own(head, self.config.n_embd // self.sizes.heads)
        ]

    def constant(self, layer: int) -> Tensor:
        return self.base.h[layer].attn.c_proj.bias

    def mlp(self, layer: int, x: Tensor) -> Tensor:
        block = self.base.h[layer]
        return block.mlp(block.ln_2(x))

    def logits(self, x: Tensor) -> Tensor:
        return self.model.lm_head(self.base.ln_f(x))
