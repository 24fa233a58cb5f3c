"""What heads copy: their output-value circuits from tokens to logits, never vocab x vocab."""

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
    read_head_matrices,
    read_unembedding,
)
from circuitgraph.models.norms import Norm, to_float32
from circuitgraph.models.transformer import Transformer


class CopyingRun(NamedTuple):
    """Small matrices with the eigenvalues of large ones, and how high tokens raise themselves.

    Attributes:
        cores: their eigenvalues are those, other than zero, of each head's circuit from tokens to
            logits.
        ranks: how many tokens each token raises more than itself.
    """

    cores: Float[Array, "layers heads d_head d_head"]
    ranks: Int[Array, "layers heads tokens"]


@eqx.filter_jit
def run_copying(
    model: Transformer, tokens: Int[np.ndarray, " tokens"] | Int[Array, " tokens"], read: TokensAs
) -> CopyingRun:
    """The circuits of all heads.

    Args:
        tokens: of which to say how high they raise themselves.
    """
    tokens = jnp.asarray(tokens)
    with jax.default_matmul_precision("highest"):
        weights = read_head_matrices(model, 0)
        x = divide_by_size(model.blocks.attention.norm, embed_tokens(model, read))
        unembedding = read_unembedding(model)
        through = jnp.einsum("vd,vf->df", unembedding, x)  # unembedding after embedding
        cores = jnp.einsum("lhde,df,lhgf->lheg", weights.o, through, weights.v)

        def rank_tokens(head: tuple[Array, Array]) -> Array:
            o, v = head
            # [tokens, vocab]
            raised = jnp.einsum("te,ve->tv", x[tokens] @ v.T, unembedding @ o)
            own = jnp.take_along_axis(raised, tokens[:, None], axis=1)
            return (raised > own).sum(1)

        heads = jax.tree.map(lambda w: w.reshape(-1, *w.shape[2:]), (weights.o, weights.v))
        ranks = jax.lax.map(rank_tokens, heads)
        shape = (model.spec.n_layers, model.spec.n_heads, len(tokens))
        return CopyingRun(to_float32(cores), ranks.reshape(shape))


def divide_by_size(norm: Norm | None, x: Float[Array, "vocab d"]) -> Float[Array, "vocab d"]:
    """The norm's output before its weight, which the matrices of heads have."""
    if norm is None:
        return x
    bare = Norm(None, None, norm.spec)
    return bare(x)
