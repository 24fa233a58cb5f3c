"""BLOOM: alibi, a norm after the embedding."""

import math

import torch
from torch import Tensor

from .base import Family, own, rows


class Bloom(Family):
    def unsupported(self) -> str | None:
        if self.config.apply_residual_connection_post_layernorm:
            return (
                "apply_residual_connection_post_layernorm: the residual is no sum of writers then"
            )
        return None

    def embed(self, tokens: Tensor) -> Tensor:
        return self.base.word_embeddings_layernorm(self.base.word_embeddings(tokens))

    def project(self, layer: int, letter: str, index: int, x: Tensor) -> Tensor:
        """Rows are ordered [head, (q, k, v), head_dim]."""
        block = self.base.h[layer]
        chosen = own(3 * index + "qkv".index(letter), self.config.hidden_size // self.sizes.heads)
        return rows(block.self_attention.query_key_value, chosen, block.input_layernorm(x))

    def scores(self, layer: int, head: int, q: Tensor, k: Tensor) -> Tensor:
        """Alibi by the key's position.

        The distance would differ by a constant per query, which the softmax ignores.
        """
        return super().scores(layer, head, q, k) + self.slope(head) * torch.arange(k.shape[1])

    def slope(self, head: int) -> float:
        """2^(-8 k / n), k = 1..n, for n a power of two; further heads take the odd steps of 2 n."""
        n = 2 ** math.floor(math.log2(self.sizes.heads))
        return (
            2 ** (-8 * (head + 1) / n) if head < n else 2 ** (-8 * (2 * (head - n) + 1) / (2 * n))
        )

    def output(self, layer: int, head: int) -> Tensor:
        columns = own(head, self.config.hidden_size // self.sizes.heads)
        return self.base.h[layer].self_attention.dense.weight[:, columns].T

    def constant(self, layer: int) -> Tensor:
        return self.base.h[layer].self_attention.dense.bias

    def mlp(self, layer: int, x: Tensor) -> Tensor:
        block = self.base.h[layer]
        return block.mlp(
            block.post_attention_layernorm(x), torch.zeros_like(x)
        )  # it adds its residual itself

    def logits(self, x: Tensor) -> Tensor:
        return self.model.lm_head(self.base.ln_f(x))
