"""How near each writer is to what a reader reads: information flow routes, without any gradient."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float

from circuitgraph.engine.masked.forward import Cells, Inputs, writer_values
from circuitgraph.models.transformer import Transformer


def streams(
    model: Transformer, written: Float[Array, "writers batch pos d"]
) -> Float[Array, "sites batch pos d"]:
    """What is read at each site: by the heads of a layer, then by its MLP if it has one; by the
    logits last.
    """
    n_layers, n_heads = model.spec.n_layers, model.spec.n_heads
    by_layer = written[1:].reshape(n_layers, -1, *written.shape[1:])

    def layer(x: Float[Array, "batch pos d"], xs: Any) -> tuple[Array, Array]:
        own, constant = xs
        after = x + own[:n_heads].sum(0) + constant
        if model.spec.d_mlp is None:
            return after, x[None]
        return after + own[n_heads], jnp.stack([x, x if model.spec.parallel else after])

    final, read = jax.lax.scan(layer, written[0], (by_layer, model.blocks.attention.constant))
    return jnp.concatenate([read.reshape(-1, *final.shape), final[None]])


@eqx.filter_jit
def run_flow(
    model: Transformer, inputs: Inputs, cells: Cells, legal: Bool[Array, "readers writers"]
) -> Float[Array, "readers writers"]:
    """The share of each writer in each reader's input, a mean over a prompt's positions, summed
    over prompts.

    The share follows the proximity ``max(0, |x|_1 - |x - w|_1)`` of the writer's value w to the
    input x, over the sum of the proximities of all writers that the reader sees; where all are
    zero, so are the shares (Ferrando and Voita 2024).
    """
    with jax.default_matmul_precision("highest"):
        written = writer_values(model, inputs)
    weights = inputs.mask / inputs.mask.sum(-1, keepdims=True)
    per_layer = 1 if model.spec.d_mlp is None else 2
    first_site = per_layer * jnp.arange(model.spec.n_layers)[:, None]
    site = jnp.full(len(legal), per_layer * model.spec.n_layers)
    for rows, offset in ((cells.q, 0), (cells.k, 0), (cells.v, 0), (cells.mlp, 1)):
        site = site.at[rows].set(jnp.broadcast_to(first_site + offset, rows.shape))
    seen = (
        jnp.zeros((per_layer * model.spec.n_layers + 1, legal.shape[1]), bool).at[site].set(legal)
    )

    def shares(xs: tuple[Array, Array]) -> Float[Array, " writers"]:
        x, visible = xs
        nearer = jnp.abs(x).sum(-1) - jnp.abs(x - written).sum(-1)
        proximity = jnp.where(visible[:, None, None], jnp.maximum(nearer, 0), 0)
        total = proximity.sum(0)
        share = jnp.where(total > 0, proximity / jnp.where(total > 0, total, 1), 0)
        return jnp.einsum("wbp,bp->w", share, weights)

    return jax.lax.map(shares, (streams(model, written), seen))[site]
