"""GPT-NeoX (Pythia): partial rotary positions; whether the residual is parallel, `Sizes` says."""

from torch import Tensor

from .base import Rotary, bias_of, own, rows


class GPTNeoX(Rotary):
    def embed(self, tokens: Tensor) -> Tensor:
        return self.base.embed_in(tokens)

    def project(self, layer: int, letter: str, index: int, x: Tensor) -> Tensor:
        """Rows are ordered [head, (q, k, v), head_dim]."""
        block = self.base.layers[layer]
        chosen = own(3 * index + "qkv".index(letter), block.attention.head_size)
        return rows(block.attention.query_key_value, chosen, block.input_layernorm(x))

    def output(self, layer: int, head: int) -> Tensor:
        attention = self.base.layers[layer].attention
        return attention.dense.weight[:, own(head, attention.head_size)].T

    def constant(self, layer: int) -> Tensor:
        return bias_of(self.base.layers[layer].attention.dense)

    def mlp(self, layer: int, x: Tensor) -> Tensor:
        block = self.base.layers[layer]
        return block.mlp(block.post_attention_layernorm(x))

    def logits(self, x: Tensor) -> Tensor:
        return self.model.lm_head(self.base.final_layer_norm(x))
