"""Small models as the literature's toy code stores and computes them, in plain torch.

Written from the papers' formulas, multiplying from the left: W_E [d, token], W_Q [head, d_head, d],
W_O [d, head * d_head], W_in [d_mlp, d], W_U [d, token]. Nothing of circuitgraph is used, but the
names of its graph's edges.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

SIZES: dict[str, Any] = {"n_layers": 2, "d_model": 12, "n_heads": 3, "d_head": 4, "n_ctx": 6}
SIZES |= {"d_mlp": 10, "d_vocab": 9, "d_vocab_out": 7}


def toy_config(**changes: Any) -> dict[str, Any]:
    """The configuration of a HookedTransformer for a toy of these sizes."""
    return {**SIZES, "act_fn": "relu", "normalization_type": None, **changes}


def random_weights(
    config: Mapping[str, Any], *, mlp_bias: bool = False, seed: int = 0
) -> dict[str, Tensor]:
    """A state dict in the toys' layout."""
    torch.manual_seed(seed)
    c = {**SIZES, **config}
    d, h, e, m = c["d_model"], c["n_heads"], c["d_head"], c["d_mlp"]
    shapes = {"embed.W_E": (d, c["d_vocab"]), "pos_embed.W_pos": (c["n_ctx"], d)}
    shapes["unembed.W_U"] = (d, c["d_vocab_out"])
    for i in range(c["n_layers"]):
        shapes |= {f"blocks.{i}.attn.W_{x}": (h, e, d) for x in "QKV"}
        shapes[f"blocks.{i}.attn.W_O"] = (d, h * e)
        if not c.get("attn_only"):
            shapes |= {f"blocks.{i}.mlp.W_in": (m, d), f"blocks.{i}.mlp.W_out": (d, m)}
            if mlp_bias:
                shapes |= {f"blocks.{i}.mlp.b_in": (m,), f"blocks.{i}.mlp.b_out": (d,)}
    return {name: 0.3 * torch.randn(shape) for name, shape in shapes.items()}


@dataclass
class Toy:
    """A toy with its weights.

    Attributes:
        rate: a query gives each key that it sees ``rate * softmax + (1 - rate)``.
        masked: no query looks at this token.
    """

    weights: dict[str, Tensor]
    config: dict[str, Any]
    rate: float = 1.0
    causal: bool = True
    masked: int | None = None

    def run(
        self, tokens: Tensor, replaced: Mapping[str, Tensor] | None = None
    ) -> dict[str, Tensor]:
        """What every writer writes, and ``logits``, all [batch, position, ...].

        Args:
            replaced: what absent edges carry, by their names: another run's value of the writer.
        """
        absent = replaced or {}
        written = {"embed": self._embed(tokens)}
        for layer in range(self.config["n_layers"]):
            heads = {}
            for head in range(self.config["n_heads"]):
                name = f"a{layer}.h{head}"
                q, k, v = (self._read(f"{name}<{x}>", written, absent) for x in "qkv")
                heads[name] = self._attend(layer, head, q, k, v, tokens)
            written |= heads
            if not self.config.get("attn_only"):
                read = self._read(f"m{layer}", written, absent)
                written[f"m{layer}"] = self._mlp(layer, read)
        logits = self._read("logits", written, absent) @ self.weights["unembed.W_U"]
        return written | {"logits": logits}

    def _embed(self, tokens: Tensor) -> Tensor:
        embedded = self.weights["embed.W_E"][:, tokens].permute(1, 2, 0)
        return embedded + self.weights["pos_embed.W_pos"][: tokens.shape[1]]

    def _read(
        self, reader: str, written: Mapping[str, Tensor], absent: Mapping[str, Tensor]
    ) -> Tensor:
        parts = [absent.get(f"{writer}->{reader}", value) for writer, value in written.items()]
        return torch.stack(parts).sum(0)

    def _attend(
        self, layer: int, head: int, q: Tensor, k: Tensor, v: Tensor, tokens: Tensor
    ) -> Tensor:
        e = self.config["d_head"]
        w = {x: self.weights[f"blocks.{layer}.attn.W_{x}"] for x in "QKVO"}
        queries, keys, values = (x @ w[y][head].T for x, y in ((q, "Q"), (k, "K"), (v, "V")))
        out = torch.zeros_like(q)
        for query in range(tokens.shape[1]):
            for row in range(len(tokens)):
                seen = [
                    key
                    for key in range(tokens.shape[1])
                    if (key <= query or not self.causal) and tokens[row, key] != self.masked
                ]
                if not seen:
                    continue
                scores = keys[row, seen] @ queries[row, query] / math.sqrt(e)
                weights = self.rate * scores.softmax(0) + (1 - self.rate)
                z = weights @ values[row, seen]
                out[row, query] = w["O"][:, head * e : (head + 1) * e] @ z
        return out

    def _mlp(self, layer: int, x: Tensor) -> Tensor:
        w = {name: self.weights[f"blocks.{layer}.mlp.{name}"] for name in ("W_in", "W_out")}
        b_in = self.weights.get(f"blocks.{layer}.mlp.b_in", 0.0)
        b_out = self.weights.get(f"blocks.{layer}.mlp.b_out", 0.0)
        return torch.relu(x @ w["W_in"].T + b_in) @ w["W_out"].T + b_out
