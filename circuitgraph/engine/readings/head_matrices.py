"""Heads as matrices: their query-key and output-value circuits, norms' weights folded in.

What no matrix has, divisors of norms, is left out; see `list_approximations`.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, Int

from circuitgraph.models.norms import Norm, apply_norm
from circuitgraph.models.positions import LayerSettings, Positions, apply_rope, make_positions
from circuitgraph.models.spec import Spec
from circuitgraph.models.transformer import Block, Transformer

TokensAs = Literal["embedding", "first-mlp"]
"""What stands for a token: its embedding, or that with what the first MLP makes of it."""


class HeadMatrices(NamedTuple):
    """Factors of the circuits of every query head; key-value heads stand for each of theirs.

    A head's score is ``(q x_query) . (k x_key)``, and it adds ``o v x_key`` times its attention.

    Attributes:
        q: scaled, and turned as for a query that stands an offset after its key.
    """

    q: Float[Array, "layers heads d_head d"]
    k: Float[Array, "layers heads d_head d"]
    v: Float[Array, "layers heads d_head d"]
    o: Float[Array, "layers heads d d_head"]


def read_head_matrices(model: Transformer, offset: int | Int[Array, ""]) -> HeadMatrices:
    """The factors of all heads, without biases. To be called in a compiled function."""

    def read_layer(layer: tuple[Block, LayerSettings]) -> tuple[Array, Array, Array, Array]:
        return _read_block(*layer, model.spec, offset)

    return HeadMatrices(*jax.lax.map(read_layer, model.stacked_layers()))


def _read_block(
    block: Block, settings: LayerSettings, spec: Spec, offset: int | Int[Array, ""]
) -> tuple[Array, Array, Array, Array]:
    attention = block.attention
    q, k, v = (fold_norm(attention.norm, w) for w in (attention.w_q, attention.w_k, attention.w_v))
    q = _turn_weights(_fold_head_norm(attention.q_norm, q, spec), settings, spec, offset)
    k = _turn_weights(_fold_head_norm(attention.k_norm, k, spec), settings, spec, 0)
    k, v = (jnp.repeat(w, len(q) // len(w), axis=0) for w in (k, v))
    o = attention.w_o
    if attention.post_norm is not None:  # root mean square: it has no mean to subtract
        o = attention.post_norm.weigh(o.swapaxes(1, 2)).swapaxes(1, 2)
    return q * settings.scale.astype(q.dtype), k, v, o * spec.residual_scale


def fold_norm(norm: Norm | None, w: Float[Array, "*axes d"]) -> Float[Array, "*axes d"]:
    """Weights that read a norm's output as weights that read its input, divided by its divisor."""
    if norm is None:
        return w
    return center_rows(norm, norm.weigh(w))


def center_rows(norm: Norm, rows: Float[Array, "*n d"]) -> Float[Array, "*n d"]:
    """The rows without what a layer norm takes away first."""
    return rows - rows.mean(-1, keepdims=True) if norm.spec.kind == "layer" else rows


def weigh_written(norm: Norm | None, rows: Float[Array, "*n d"]) -> Float[Array, "*n d"]:
    """What the norm of a stream has of rows in it, but for the divisor."""
    return rows if norm is None else norm.weigh(center_rows(norm, rows))


def _fold_head_norm(
    norm: Norm | None, w: Float[Array, "heads d_head d"], spec: Spec
) -> Float[Array, "heads d_head d"]:
    """The weights of queries or keys with the weight of their own norm."""
    if norm is None:
        return w
    if norm.spec.kind == "layer":
        w = w - w.mean((0, 1) if spec.qk_norm_over == "width" else 1, keepdims=True)
    if norm.weight is None:
        return w
    own = norm.weight if spec.qk_norm_over == "head" else norm.weight[:, None]
    return (w.swapaxes(1, 2) * (own.astype(w.dtype) + norm.spec.offset)).swapaxes(1, 2)


def stand_at(spec: Spec, offset: int | Int[Array, ""]) -> Positions:
    """What one token has of positions that stands there."""
    one = jnp.zeros((1, 1), jnp.int32)
    return make_positions(spec, one, one == 0, one + offset)


def _turn_weights(
    w: Float[Array, "heads d_head d"],
    settings: LayerSettings,
    spec: Spec,
    offset: int | Int[Array, ""],
) -> Float[Array, "heads d_head d"]:
    """The weights of queries or keys of a token at that position."""
    by_input = w.swapaxes(1, 2)[:, :, None]  # [heads, d, 1, d_head], as if inputs were prompts
    return apply_rope(by_input, stand_at(spec, offset), settings, spec)[:, :, 0].swapaxes(1, 2)


def embed_tokens(model: Transformer, tokens: TokensAs) -> Float[Array, "vocab d"]:
    """What stands for each token, without its position."""
    x = model.embedding
    if model.spec.embed_scale != 1.0:
        x = x * jnp.array(model.spec.embed_scale, x.dtype)
    x = apply_norm(model.embed_norm, x)
    first: Block = jax.tree.map(lambda weights: weights[0], model.blocks)
    if tokens == "embedding" or first.mlp is None:
        return x
    return x + first.mlp(x)


def read_unembedding(model: Transformer) -> Float[Array, "vocab_out d"]:
    """The unembedding with the weight of the last norm, less its mean over tokens, which changes no
    probability.
    """
    w = model.embedding if model.unembedding is None else model.unembedding
    w = fold_norm(model.final_norm, w) * model.spec.logit_scale
    return w - w.mean(0)


def list_approximations(spec: Spec, *, queries: bool) -> list[str]:
    """What the matrices of heads leave out in this model, in sentences.

    Args:
        queries: of query-key circuits too, not of output-value circuits alone.
    """
    notes = []
    if spec.norm is not None or spec.final_norm is not None:
        notes.append("Norms: their weights are in the matrices, divisors of whole streams are not.")
    if queries and spec.qk_norm is not None:
        over = "all heads together" if spec.qk_norm_over == "width" else "each head"
        notes.append(
            f"Approximate: queries and keys are divided by their own size, over {over}, which no "
            "matrix has; each score is off by a factor of its query and its key."
        )
    if spec.clip_qkv is not None:
        notes.append(
            f"Approximate: queries, keys and values are clipped to +- {spec.clip_qkv}, which no "
            "matrix has."
        )
    if queries and (spec.ropes or spec.alibi is not None):
        notes.append("Positions: scores are those of one offset; at others they are others.")
    if queries and spec.qkv_bias:
        notes.append("Biases of queries and keys are left out.")
    return notes
