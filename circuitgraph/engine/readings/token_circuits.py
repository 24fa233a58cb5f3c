"""One head between tokens: which key tokens a query token prefers, and what they raise."""

from __future__ import annotations

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, Int

from circuitgraph.engine.readings.head_matrices import (
    TokensAs,
    embed_tokens,
    read_unembedding,
    stand_at,
)
from circuitgraph.models.norms import to_float32
from circuitgraph.models.transformer import Transformer

_ROWS = 256  # whose products with all others are alive at a time
Number = np.int32 | Int[Array, ""]


class TokenVectors(NamedTuple):
    """What one head makes of each token by itself.

    Attributes:
        queries, keys: their products are scores. Keys are less the mean key, so that a score is
            what a key has over the average key, as the softmax sees it.
        values: what the head fetches of each token, less the mean.
        raises: products with values are logits, less the mean over tokens.
    """

    queries: Float[Array, "vocab d_head"]
    keys: Float[Array, "vocab d_head"]
    values: Float[Array, "vocab d_head"]
    raises: Float[Array, "vocab_out d_head"]


@eqx.filter_jit
def run_token_vectors(
    model: Transformer, layer: Number, head: Number, offset: Number, read: TokensAs
) -> TokenVectors:
    """The vectors of a head whose query stands ``offset`` after the key.

    Norms, biases and clips of queries and keys are the model's own, of a stream of that token
    alone; of the way to the logits, divisors are left out.
    """
    layer, head, offset = (jnp.asarray(number) for number in (layer, head, offset))
    with jax.default_matmul_precision("highest"):
        block, settings = model.select_layer(layer)
        attention, spec = block.attention, model.spec
        x = embed_tokens(model, read)[None, :, None]  # each token a prompt of its own
        here, there = stand_at(spec, offset), stand_at(spec, 0)
        q = attention.project_queries(x, here, settings, head)[0, :, 0]
        k = attention.project_keys(x, there, settings, head)[0, :, 0]
        v = attention.project_values(x, head)[0, :, 0]
        o = attention.w_o[head]
        if attention.post_norm is not None:
            o = attention.post_norm.weigh(o.T).T
        raises = read_unembedding(model) @ o * spec.residual_scale
        q = q * settings.scale.astype(q.dtype)
        vectors = TokenVectors(q, k - k.mean(0), v - v.mean(0), raises)
        return jax.tree.map(to_float32, vectors)


@eqx.filter_jit
def run_row_tops(
    left: Float[Array, "rows d"], right: Float[Array, "columns d"], n_top: int
) -> tuple[Float[Array, "rows n_top"], Int[Array, "rows n_top"]]:
    """For each row of ``left`` the largest products with rows of ``right``, and whose they are."""

    def find_tops(row: Array) -> tuple[Array, Array]:
        largest, index = jax.lax.top_k(right @ row, n_top)
        return largest, index

    with jax.default_matmul_precision("highest"):
        return jax.lax.map(find_tops, left, batch_size=_ROWS)
