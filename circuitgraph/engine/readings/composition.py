"""Composition scores: how much of what one head writes another head's matrices read."""

from __future__ import annotations

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, Int

from circuitgraph.engine.readings.head_matrices import HeadMatrices, read_head_matrices
from circuitgraph.models.norms import to_float32
from circuitgraph.models.transformer import Transformer


class _Writers(NamedTuple):
    """Heads as writers: their output-value circuits ``o v`` with what scores need of them."""

    o: Float[Array, "heads d d_head"]
    read: Float[Array, "heads d_head d_head"]  # v v^T
    size: Float[Array, " heads"]  # Frobenius norm


@eqx.filter_jit
def run_composition(
    model: Transformer, offset: np.int32 | Int[Array, ""]
) -> Float[Array, "layers heads 3 layers heads"]:
    """The scores of every reader (first axes) with every writer (last axes), by q, k and v.

    A score is the Frobenius norm of the product over the product of the norms (Elhage et al. 2021).
    Where the writer does not stand in an earlier layer, the number means nothing.
    """
    with jax.default_matmul_precision("highest"):
        weights = jax.tree.map(to_float32, read_head_matrices(model, jnp.asarray(offset)))
        return score_composition(weights)


def score_composition(weights: HeadMatrices) -> Float[Array, "layers heads 3 layers heads"]:
    """`run_composition` of given matrices. To be called in a compiled function."""
    n_layers, n_heads = weights.o.shape[:2]
    o, v = (w.reshape(-1, *w.shape[2:]) for w in (weights.o, weights.v))
    writers = _Writers(o, _multiply_grams(v, v), _find_sizes(o.swapaxes(1, 2), v))

    def score_head(head: tuple[Array, Array, Array, Array]) -> Array:
        q, k, v, o = head
        # what each input reads, and what the rest of the circuit makes of it
        sides = ((q, k), (k, q), (v, o.T))
        return jnp.stack([_score_input(reads, rest, writers) for reads, rest in sides])

    heads = jax.tree.map(
        lambda w: w.reshape(-1, *w.shape[2:]), (weights.q, weights.k, weights.v, weights.o)
    )
    scores = jax.lax.map(score_head, heads)  # [heads, 3, writers]
    return scores.reshape(n_layers, n_heads, 3, n_layers, n_heads)


def _score_input(
    reads: Float[Array, "d_head d"], rest: Float[Array, "d_head d"], writers: _Writers
) -> Float[Array, " heads"]:
    """|rest^T reads o v| of each writer, by matrices of the size of a head."""
    through = jnp.einsum("ed,hdf->hef", reads, writers.o)
    gram = rest @ rest.T
    squares = jnp.einsum("hef,hfg,hdg,de->h", through, writers.read, through, gram)
    whole = _find_sizes(rest[None], reads[None])[0]
    return jnp.sqrt(jnp.maximum(squares, 0.0)) / (whole * writers.size)


def _multiply_grams(
    left: Float[Array, "heads d_head d"], right: Float[Array, "heads d_head d"]
) -> Float[Array, "heads d_head d_head"]:
    return jnp.einsum("hed,hfd->hef", left, right)


def _find_sizes(
    left: Float[Array, "heads d_head d"], right: Float[Array, "heads d_head d"]
) -> Float[Array, " heads"]:
    """The Frobenius norm of ``left^T right`` of each head."""
    grams = _multiply_grams(left, left), _multiply_grams(right, right)
    return jnp.sqrt(jnp.einsum("hef,hef->h", *grams))


@eqx.filter_jit
def run_random_composition(
    key: Array, shape: tuple[int, int], n_heads: int
) -> Float[Array, "1 heads 3 1 heads"]:
    """The scores of heads of normal random matrices of that shape, [d_head, d]."""
    with jax.default_matmul_precision("highest"):
        d_head, d = shape
        keys = jax.random.split(key, 4)
        q, k, v = (jax.random.normal(each, (1, n_heads, d_head, d)) for each in keys[:3])
        o = jax.random.normal(keys[3], (1, n_heads, d, d_head))
        return score_composition(HeadMatrices(q, k, v, o))
