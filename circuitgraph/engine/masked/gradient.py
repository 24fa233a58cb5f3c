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
from circuitgraph.engine.batch import Inputs, take_scored
from circuitgraph.engine.grid import Grid
from circuitgraph.engine.masked.forward import compute_differences
from circuitgraph.engine.masked.own_inputs import pull_own_units
from circuitgraph.engine.values import (
    Values,
    sum_vectors,
    sum_writers,
    take_layer,
    weigh_writers,
)
from circuitgraph.models.transformer import Transformer
from circuitgraph.models.units import LayerUnits


def compute_losses_and_gradient(
    model: Transformer,
    mask: Float[Array, " edges"],
    grid: Grid,
    background: Background,
    inputs: Inputs,
    loss: Callable[[Array], Array],
    errors: Float[Array, "layers batch pos d"] | None = None,
) -> tuple[Float[Array, " batch"], Float[Array, " edges"]]:
    """The loss of each example, and the gradient of their sum by the mask.

    Args:
        mask, background, inputs, errors: as of `compute_masked_logits`.
        loss: from logits [batch, scored, vocab] to losses [batch].
    """
    matrix, pull_mask = jax.vjp(
        lambda mask: grid.mask_matrix(mask.astype(model.embedding.dtype)), mask
    )
    moved = compute_differences(model, matrix, grid, background, inputs, errors)

    def sum_losses(final: Array) -> tuple[Array, Array]:
        losses = loss(model.unembed(take_scored(final, inputs.score_at)))
        return losses.sum(), losses

    final = background.final + sum_writers(matrix[-1:], moved, model.units)[0]
    # d_ means: the derivative of the sum of losses by
    d_final, losses = jax.grad(sum_losses, has_aux=True)(final)
    # each layer's readers side by side, then the logits, then units with inputs of their own
    layers = jnp.concatenate([grid.q, grid.k, grid.v, grid.mlp], axis=1)
    order = jnp.concatenate([jnp.append(layers, len(matrix) - 1), grid.units])
    d_read = _pull_layers(model, matrix[order], grid, background, inputs, moved, d_final)
    d_rows = weigh_writers(d_read, moved, model.units)
    # units that share an input have a row each, which are one reader's
    (gradient,) = pull_mask(jnp.zeros_like(matrix).at[order].add(d_rows))
    return losses, gradient


def _pull_layers(
    model: Transformer,
    matrix: Float[Array, "readers writers"],
    grid: Grid,
    background: Background,
    inputs: Inputs,
    moved: Values,
    d_final: Float[Array, "batch pos d"],
) -> Float[Array, "readers batch pos d"]:
    """The derivative by what each reader reads.

    Args:
        matrix: with the readers in the order of the layers, then the logits, then units.
        d_final: the derivative by what the logits read.
    """
    n_heads, units = model.n_head_slots, model.units
    n_placed = len(matrix) - len(grid.units)  # readers that are no units
    positions = model.positions_of(inputs.tokens, inputs.mask, inputs.positions)
    sizes = [rows.shape[1] for rows in (grid.q, grid.k, grid.v, grid.mlp)]

    def pull_layer(d_read: Array, layer: Any) -> tuple[Array, None]:
        (block, settings), own, apart, start, writers, into_heads, into_mlp = layer
        kept = jax.lax.dynamic_slice_in_dim(matrix, start, sum(sizes))
        *x_qkv, x_mlp = jnp.split(sum_writers(kept, moved, units), np.cumsum(sizes)[:3])
        # readers of later layers only: zero edges lead to the others, whose d_read is still missing
        d_written = sum_vectors(matrix[:, writers].T, d_read)
        d_heads, d_mlp = d_written[:n_heads], x_mlp  # empty in a model without MLPs
        if block.mlp is not None:
            if own is None:
                _, pull = jax.vjp(block.mlp, into_mlp + x_mlp[0])
                d_mlp = pull(d_written[n_heads])[0][None]
            else:
                split = model.split_mlp(block.mlp, own)
                (_, values), pull = jax.vjp(split.write_parts, into_mlp + x_mlp[0])
                d_units = weigh_units(own, jnp.zeros_like(values), d_read)
                d_vectors = d_written[n_heads:]
                if model.units is not None and model.units.freezes:
                    d_vectors = d_vectors.at[1].multiply(1 - own.frozen)
                if units is not None and units.own_inputs:
                    rows = take_layer(matrix[n_placed:], own)
                    d_own = pull_own_units(split, rows, into_mlp, moved, units, d_units)
                    d_heads += sum_vectors(rows[:, writers[:n_heads]].T, d_own)
                    d_read = put_rows(d_read, own, d_own)
                    d_units = jnp.zeros_like(d_units)
                d_mlp = pull((d_vectors, d_units))[0][None]
            d_heads += sum_vectors(kept[-1:, writers[:n_heads]].T, d_mlp)
        _, pull_heads = jax.vjp(
            lambda *x: block.run_heads(*x, positions, settings, apart, inputs.sources),
            *(into_heads + x for x in x_qkv),
        )
        d_layer = jnp.concatenate([*pull_heads(d_heads), d_mlp])
        return jax.lax.dynamic_update_slice_in_dim(d_read, d_layer, start, axis=0), None

    def put_rows(d_read: Array, own: LayerUnits, d_own: Array) -> Array:
        """``d_read`` with what a layer's units read."""
        return d_read.at[n_placed + own.slots].set(d_own, mode="drop")

    def weigh_units(own: LayerUnits, nothing: Array, d_read: Array) -> Array:
        """The derivative by the values of a layer's units; of ``nothing``'s shape."""
        assert units is not None  # noqa: S101 - layers have units where the model has
        of_layer = take_layer(units.rows, own)
        columns = len(moved.nodes) + own.slots  # beyond the last where a layer has no more
        kept = matrix.at[:, columns].get(mode="fill", fill_value=0)

        def add_reader(total: Array, reader: tuple[Array, Array]) -> tuple[Array, None]:
            weights, gradient = reader
            # [batch, pos, d] @ [d, most], then [most, batch, pos]
            return total + jnp.moveaxis(gradient @ (of_layer * weights[:, None]).T, -1, 0), None

        return jax.lax.scan(add_reader, nothing, (kept, d_read))[0]

    d_read = jnp.zeros((len(matrix), *d_final.shape), d_final.dtype)
    d_read = d_read.at[n_placed - 1].set(d_final)
    starts = np.arange(model.spec.n_layers) * sum(sizes)
    writers = jnp.concatenate([grid.heads, grid.sources, grid.mlps, grid.errors], axis=1)
    streams = (background.into_heads, background.into_mlp)
    own = (model.layers_of_units, model.layers_of_sources)
    layers = (model.stacked_layers(), *own, starts, writers, *streams)
    return jax.lax.scan(pull_layer, d_read, layers, reverse=True)[0]
