"""Families with experts, whose MLPs are Hugging Face's whole; gpt-oss with its attention sinks."""

import torch
from torch import Tensor

from .llama import Llama


class GptOss(Llama):
    def pattern(self, layer: int, head: int, scores: Tensor) -> Tensor:
        """A sink is a key that every query sees and whose value is zero."""
        sink = self.base.layers[layer].self_attn.sinks[head].expand(*scores.shape[:-1], 1)
        return torch.cat([scores, sink], dim=-1).softmax(-1)[..., :-1]

    def angles(self, x: Tensor) -> tuple[Tensor, Tensor]:
        cos, sin = super().angles(x)
        return cos.repeat(1, 1, 2), sin.repeat(1, 1, 2)

    def mlp(self, layer: int, x: Tensor) -> Tensor:
        written, _ = super().mlp(layer, x)
        return written
