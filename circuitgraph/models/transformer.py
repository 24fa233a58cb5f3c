"""The one transformer: every family is a setting of it, and the engine runs its parts.

Axis names: ``batch``, ``pos`` (query positions), ``d`` (d_model), ``heads``, ``d_head``, ``d_mlp``, ``vocab``.
A leading axis ``one_or_heads`` is 1 where all heads read the same residual stream, and n_heads where each
reads its own. ``*layers`` is one axis where the blocks' weights are stacked over layers, so that one compiled
layer serves all, and none inside that layer.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float, Int

from circuitgraph.models.spec import Activation, Spec

ACTIVATIONS: dict[Activation, Callable[[Array], Array]] = {
    "gelu": lambda x: jax.nn.gelu(x, approximate=False),
    "gelu_tanh": lambda x: jax.nn.gelu(x, approximate=True),
    "quick_gelu": lambda x: x * jax.nn.sigmoid(1.702 * x),
    "relu": jax.nn.relu,
    "relu2": lambda x: jnp.square(jax.nn.relu(x)),
    "silu": jax.nn.silu,
    "tanh": jnp.tanh,
    "identity": lambda x: x,
}


class LayerNorm(eqx.Module):
    """``(x - mean) / sqrt(var + eps) * weight + bias`` over d_model."""

    weight: Float[Array, "*layers d"]
    bias: Float[Array, "*layers d"]
    eps: float = eqx.field(static=True)

    def __call__(self, x: Float[Array, "*axes d"]) -> Float[Array, "*axes d"]:
        centred = x - x.mean(-1, keepdims=True)
        variance = jnp.square(centred).mean(-1, keepdims=True)
        return centred * jax.lax.rsqrt(variance + self.eps) * self.weight + self.bias


class Attention(eqx.Module):
    """Multi-head causal attention, kept apart by head from its inputs to what it adds to the stream."""

    norm: LayerNorm
    w_q: Float[Array, "*layers heads d d_head"]
    w_k: Float[Array, "*layers heads d d_head"]
    w_v: Float[Array, "*layers heads d d_head"]
    b_q: Float[Array, "*layers heads d_head"]
    b_k: Float[Array, "*layers heads d_head"]
    b_v: Float[Array, "*layers heads d_head"]
    w_o: Float[Array, "*layers heads d_head d"]
    b_o: Float[Array, "*layers d"]  # belongs to no head: a constant of the layer
    scale: Float[Array, "*layers"]

    def __call__(
        self,
        x_q: Float[Array, "one_or_heads batch pos d"],
        x_k: Float[Array, "one_or_heads batch pos d"],
        x_v: Float[Array, "one_or_heads batch pos d"],
        visible: Bool[Array, "batch pos pos"],
    ) -> Float[Array, "heads batch pos d"]:
        """What each head adds to the residual stream, given its three (un-normed) inputs."""
        q = _project(self.norm(x_q), self.w_q, self.b_q)
        k = _project(self.norm(x_k), self.w_k, self.b_k)
        v = _project(self.norm(x_v), self.w_v, self.b_v)
        scores = jnp.einsum("hbqe,hbke->hbqk", q, k) * self.scale
        pattern = jax.nn.softmax(jnp.where(visible, scores, jnp.finfo(scores.dtype).min), axis=-1)
        return jnp.einsum("hbqk,hbke,hed->hbqd", pattern, v, self.w_o)


def _project(
    x: Float[Array, "one_or_heads batch pos d"],
    w: Float[Array, "heads d d_head"],
    b: Float[Array, "heads d_head"],
) -> Float[Array, "heads batch pos d_head"]:
    equation = "xbpd,hde->hbpe" if x.shape[0] == 1 else "hbpd,hde->hbpe"
    return jnp.einsum(equation, x, w) + b[:, None, None, :]


class MLP(eqx.Module):
    """Norm, up-projection, activation, down-projection; its biases are part of what it writes."""

    norm: LayerNorm
    w_in: Float[Array, "*layers d d_mlp"]
    b_in: Float[Array, "*layers d_mlp"]
    w_out: Float[Array, "*layers d_mlp d"]
    b_out: Float[Array, "*layers d"]
    activation: Activation = eqx.field(static=True)

    def __call__(self, x: Float[Array, "*axes d"]) -> Float[Array, "*axes d"]:
        hidden = ACTIVATIONS[self.activation](self.norm(x) @ self.w_in + self.b_in)
        return hidden @ self.w_out + self.b_out


class Block(eqx.Module):
    """One layer: attention, then an MLP if the model has any."""

    attention: Attention
    mlp: MLP | None


class Transformer(eqx.Module):
    """The whole network; a pytree of arrays that is passed to compiled functions as an argument."""

    embedding: Float[Array, "vocab d"]
    positional: Float[Array, "n_ctx d"]
    blocks: Block  # every array with a leading axis of layers
    final_norm: LayerNorm
    unembedding: Float[Array, "d vocab"] | None  # None: tied to the embedding
    spec: Spec = eqx.field(static=True)

    def __call__(
        self,
        tokens: Int[Array, "batch pos"],
        mask: Bool[Array, "batch pos"],
        positions: Int[Array, "batch pos"],
    ) -> Float[Array, "batch pos vocab"]:
        """Logits at every position of right-padded prompts; ``mask`` is True on real tokens."""
        return self.logits(self.residual(tokens, mask, positions))

    def residual(
        self,
        tokens: Int[Array, "batch pos"],
        mask: Bool[Array, "batch pos"],
        positions: Int[Array, "batch pos"],
    ) -> Float[Array, "batch pos d"]:
        """The final residual stream, before the last norm."""
        visible = causal(mask)

        def layer(x: Float[Array, "batch pos d"], block: Any) -> tuple[Float[Array, "batch pos d"], None]:
            x = x + block.attention(x[None], x[None], x[None], visible).sum(0) + block.attention.b_o
            if block.mlp is not None:
                x = x + block.mlp(x)
            return x, None

        x, _ = jax.lax.scan(layer, self.embed(tokens, positions), self.blocks)
        return x

    def embed(self, tokens: Int[Array, "batch pos"], positions: Int[Array, "batch pos"]) -> Float[Array, "batch pos d"]:
        """What the writer ``embed`` writes: token plus position embedding."""
        return self.embedding[tokens] + self.positional[positions]

    def logits(self, x: Float[Array, "*axes d"]) -> Float[Array, "*axes vocab"]:
        """Final norm and unembedding of a final residual stream."""
        unembedding = self.embedding.T if self.unembedding is None else self.unembedding
        return self.final_norm(x) @ unembedding


def causal(mask: Bool[Array, "batch pos"]) -> Bool[Array, "batch pos pos"]:
    """Which key position (last axis) each query position sees: real tokens at or before it."""
    n = mask.shape[-1]
    return jnp.tril(jnp.ones((n, n), bool)) & mask[:, None, :]
