"""What the families share: one attention head, written out, with places for what differs."""

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import linear
from transformers import PreTrainedModel

from ..names import sizes


class Family(ABC):
    """A model taken apart; `x` is always a residual stream [batch, position, d] before a norm."""

    def __init__(self, model: PreTrainedModel) -> None:
        self.model: Any = model  # torch types no sub-modules
        self.base: Any = model.base_model
        self.config: Any = model.config
        self.sizes = sizes(model.config)
        if reason := self.unsupported():
            raise ValueError(reason)

    @abstractmethod
    def embed(self, tokens: Tensor) -> Tensor: ...

    @abstractmethod
    def project(self, layer: int, letter: str, index: int, x: Tensor) -> Tensor:
        """The query ("q") of one head, or the key or value of one key-value head.

        [batch, position, head_dim].
        """

    @abstractmethod
    def output(self, layer: int, head: int) -> Tensor:
        """The rows [head_dim, d] of the output matrix that belong to one head."""

    @abstractmethod
    def constant(self, layer: int) -> Tensor:
        """What the attention of a layer adds to the residual whatever it reads: its output bias."""

    @abstractmethod
    def mlp(self, layer: int, x: Tensor) -> Tensor: ...

    @abstractmethod
    def logits(self, x: Tensor) -> Tensor: ...

    def unsupported(self) -> str | None:
        """Why a model with these settings is refused, if it is."""
        return None

    def head(
        self, layer: int, head: int, x_q: Tensor, x_k: Tensor, x_v: Tensor, mask: Tensor
    ) -> Tensor:
        """A query head's share of the attention output, before any post-norm."""
        group = head // (self.sizes.heads // self.sizes.kv_heads)
        q, k = self.project(layer, "q", head, x_q), self.project(layer, "k", group, x_k)
        v = self.project(layer, "v", group, x_v)
        scores = self.scores(layer, head, q, k)
        # Not -inf: a padded query may see no key at all, and NaN would reach real positions as 0 *
        # NaN.
        scores = scores.masked_fill(~self.visible(layer, mask), torch.finfo(scores.dtype).min)
        return self.pattern(layer, head, scores) @ v @ self.output(layer, head)

    def scores(self, layer: int, head: int, q: Tensor, k: Tensor) -> Tensor:
        return q @ k.transpose(1, 2) * self.scale(layer, q.shape[-1])

    def pattern(self, layer: int, head: int, scores: Tensor) -> Tensor:
        return scores.softmax(-1)

    def scale(self, layer: int, head_dim: int) -> float:
        return head_dim**-0.5

    def visible(self, layer: int, mask: Tensor) -> Tensor:
        """[batch, query, key]: no padding, nothing later."""
        length = mask.shape[1]
        return torch.ones(length, length, dtype=torch.bool).tril() & mask[:, None, :]

    def finish(self, layer: int, shares: dict[str, Tensor]) -> dict[str, Tensor]:
        """From the shares of all heads of a layer to what each adds to the residual."""
        return shares


def own(index: int, width: int) -> slice:
    return slice(index * width, (index + 1) * width)


def rows(module: Any, chosen: slice, x: Tensor) -> Tensor:
    """Some outputs of a linear layer, with or without bias."""
    return linear(x, module.weight[chosen], None if module.bias is None else module.bias[chosen])


def bias_of(module: Any) -> Tensor:
    return torch.zeros_like(module.weight[:, 0]) if module.bias is None else module.bias


class Rotary(Family):
    """Families that rotate queries and keys; Hugging Face's cos and sin include the scalings."""

    def scores(self, layer: int, head: int, q: Tensor, k: Tensor) -> Tensor:
        return super().scores(layer, head, self.rotate(q), self.rotate(k))

    def rotate(self, x: Tensor) -> Tensor:
        """Turn the first dimensions, as many as there are angles; j is paired with j + half."""
        cos, sin = self.angles(x)
        turned, rest = x[..., : cos.shape[-1]], x[..., cos.shape[-1] :]
        left, right = turned.chunk(2, dim=-1)
        turned = turned * cos + torch.cat([-right, left], dim=-1) * sin
        return torch.cat([turned, rest], dim=-1).to(x.dtype)

    def angles(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Cosine and sine by position, each for both halves."""
        return self.base.rotary_emb(x, torch.arange(x.shape[1])[None])
