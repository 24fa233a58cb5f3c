"""Round-to-nearest quantisation of a network's matrices, with outliers clipped before."""

from __future__ import annotations

from collections.abc import Iterator

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from circuitgraph.engine.readings.super_weights import WeightPlaces
from circuitgraph.models.norms import to_float32
from circuitgraph.models.transformer import Transformer


def round_network(
    model: Transformer, bits: int, block: int, clip: float | None = None
) -> Transformer:
    """The network with all matrices of its attention and MLPs rounded; embeddings are left.

    Args:
        block: numbers that share a scale: neighbours within a layer's matrix, row after row; 0 for
            all of a matrix.
        clip: before rounding, standard deviations from a matrix's mean beyond which weights are
            moved to that distance; None for none.
    """
    return eqx.tree_at(
        lambda network: list(_iterate_matrices(network)),
        model,
        [_round_matrices(w, bits, block, clip) for w in _iterate_matrices(model)],
    )


def restore_weights(model: Transformer, original: Transformer, places: WeightPlaces) -> Transformer:
    """The network with some output weights of MLPs as they are in another."""
    old, new = (network.blocks.mlp.w_out for network in (original, model))  # pyright: ignore[reportOptionalMemberAccess]
    at = tuple(places)
    return eqx.tree_at(lambda network: network.blocks.mlp.w_out, model, new.at[at].set(old[at]))


def measure_error(model: Transformer, original: Transformer) -> Float[Array, ""]:
    """The mean squared change of the weights that `round_network` rounds."""
    pairs = list(zip(_iterate_matrices(model), _iterate_matrices(original), strict=True))
    errors = [jnp.square(to_float32(new) - to_float32(old)).sum() for new, old in pairs]
    return jnp.stack(errors).sum() / sum(old.size for _, old in pairs)


def _iterate_matrices(model: Transformer) -> Iterator[Float[Array, "layers ..."]]:
    attention, mlp = model.blocks.attention, model.blocks.mlp
    yield from (attention.w_q, attention.w_k, attention.w_v, attention.w_o)
    if mlp is not None:
        yield from (w for w in (mlp.w_in, mlp.w_gate, mlp.w_out) if w is not None)


@eqx.filter_jit
def _round_matrices(
    weights: Float[Array, "layers ..."], bits: int, block: int, clip: float | None
) -> Float[Array, "layers ..."]:
    """Each layer's matrix, block by block, to the nearest of evenly spaced numbers."""

    def round_layer(w: Float[Array, " numbers"]) -> Float[Array, " numbers"]:
        if clip is not None:
            w = jnp.clip(w, w.mean() - clip * w.std(), w.mean() + clip * w.std())
        size = block or len(w)
        # what fills up the last block changes neither its least nor its greatest number
        blocks = jnp.pad(w, (0, -len(w) % size), mode="edge").reshape(-1, size)
        low, high = (x[:, None] for x in (blocks.min(1), blocks.max(1)))
        step = (high - low) / (2**bits - 1)
        steps = jnp.round((blocks - low) / jnp.where(step > 0, step, 1.0))
        return (low + steps * step).reshape(-1)[: len(w)]

    flat = to_float32(weights).reshape(len(weights), -1)
    return jax.lax.map(round_layer, flat).reshape(weights.shape).astype(weights.dtype)
