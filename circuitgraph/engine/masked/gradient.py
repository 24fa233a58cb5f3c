"""The gradient of a loss by a mask, in a small multiple of the memory of a masked run.

What automatic differentiation of `compute_masked_logits` computes, which would keep ``moved`` anew
for each layer. It is enough to have ``moved`` once, as it is at the end: a layer's readers have no
edges from the writers that were still missing, so that their inputs can be made again. One layer at
a time is run again and pulled back, from the last to the first.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

from circuitgraph.engine.ablation import Background
from circuitgraph.engine.batch import Inputs
from circuitgraph.engine.grid import Grid
from circuitgraph.engine.masked.forward import compute_differences, read_logits, sum_kept_edges
from circuitgraph.models.transformer import Transformer


def compute_losses_and_gradient(
    model: Transformer,
    mask: Float[Array, " edges"],
    grid: Grid,
    background: Background,
    inputs: Inputs,
    loss: Callable[[Array], Array],
) -> tuple[Float[Array, " batch"], Float[Array, " edges"]]:
    """The loss of each example, and the gradient of their sum by the mask.

    Args:
        mask, background, inputs: as of `compute_masked_logits`.
        loss: from logits [batch, scored, vocab] to losses [batch].
    """
    matrix, pull_mask = jax.vjp(
        lambda mask: grid.mask_matrix(mask.astype(model.embedding.dtype)), mask
    )
    moved = compute_differences(model, matrix, grid, background, inputs)

    def sum_losses(matrix: Array, moved: Array) -> tuple[Array, Array]:
        losses = loss(read_logits(model, matrix, background, inputs, moved))
        return losses.sum(), losses

    # d_ means: the derivative of the sum of losses by
    (d_matrix, d_moved), losses = jax.grad(sum_losses, (0, 1), has_aux=True)(matrix, moved)
    d_rows, rows = _pull_layers(model, matrix, grid, background, inputs, moved, d_moved)
    (gradient,) = pull_mask(d_matrix.at[rows].set(d_rows))
    return losses, gradient


def _pull_layers(
    model: Transformer,
    matrix: Float[Array, "readers writers"],
    grid: Grid,
    background: Background,
    inputs: Inputs,
    moved: Float[Array, "writers batch pos d"],
    d_moved: Float[Array, "writers batch pos d"],
) -> tuple[Float[Array, "layers in_layer writers"], Array]:
    """The gradient by the rows of each layer's readers, and which rows these are.

    Args:
        d_moved: the derivative by ``moved`` of what the logits read.
    """
    positions = model.positions_of(inputs.tokens, inputs.mask, inputs.positions)
    inputs_of = (grid.q, grid.k, grid.v, grid.mlp)
    cuts = np.cumsum([rows.shape[1] for rows in inputs_of])[:3]

    def pull_layer(d_moved: Array, layer: Any) -> tuple[Array, Array]:
        (block, settings), rows, heads, mlps, into_heads, into_mlp = layer
        kept = matrix[rows]
        *x_qkv, x_mlp = jnp.split(sum_kept_edges(kept, moved), cuts)
        d_heads = jax.lax.dynamic_slice_in_dim(d_moved, heads[0], len(heads))
        d_mlp = x_mlp  # empty in a model without MLPs
        if block.mlp is not None:
            _, pull_mlp = jax.vjp(block.mlp, into_mlp + x_mlp[0])
            d_mlp = jnp.stack(pull_mlp(d_moved[mlps[0]]))
            d_heads += sum_kept_edges(kept[-1:, heads].T, d_mlp)
        _, pull_heads = jax.vjp(
            lambda *x: block.run_heads(*x, positions, settings), *(into_heads + x for x in x_qkv)
        )
        d_inputs = jnp.concatenate([*pull_heads(d_heads), d_mlp])
        d_rows = jnp.einsum("r...,w...->rw", d_inputs, moved)
        return d_moved + sum_kept_edges(kept.T, d_inputs), d_rows

    all_rows = jnp.concatenate(inputs_of, axis=1)
    layers = (model.stacked_layers(), all_rows, grid.heads, grid.mlps)
    streams = (background.into_heads, background.into_mlp)
    _, d_rows = jax.lax.scan(pull_layer, d_moved, (*layers, *streams), reverse=True)
    return d_rows, all_rows
