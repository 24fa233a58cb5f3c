"""The masked forward pass, as pure functions of parameters, mask and prompts.

A reader's input is ``sum of all replacements + constants + sum over kept edges (writer now - its
replacement)``. The first two terms are the `Background`; ``moved`` below holds each writer's
difference to its replacement.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from circuitgraph.engine.ablation import Background
from circuitgraph.engine.batch import Inputs, take_scored
from circuitgraph.engine.grid import Grid, join_layers, split_by_layer
from circuitgraph.engine.trace import trace_model
from circuitgraph.models.transformer import Transformer


def compute_full_logits(model: Transformer, inputs: Inputs) -> Float[Array, "batch scored vocab"]:
    """Logits of the untouched model at the scored positions."""
    x = model.final_residual(inputs.tokens, inputs.mask, inputs.positions)
    return model.unembed(take_scored(x, inputs.score_at))


def compute_writer_values(
    model: Transformer, inputs: Inputs
) -> Float[Array, "writers batch pos d"]:
    """What every writer adds to the residual stream in an untouched run, in the graph's order."""
    trace = trace_model(model, inputs, ["writers"])
    assert trace.writers is not None  # noqa: S101 - it was to be kept
    return join_layers(trace.embed, trace.writers)


def compute_masked_logits(
    model: Transformer,
    mask: Float[Array, " edges"],
    grid: Grid,
    background: Background,
    inputs: Inputs,
) -> Float[Array, "batch scored vocab"]:
    """Logits at the scored positions when only the edges in ``mask`` carry their writers' values.

    A head hides the keys that the clean prompt hides (padding, a ``masked_token``), also where an
    absent edge carries the replacement of the embedding into its keys.

    Args:
        mask: 1 where an edge is kept, 0 where it carries its writer's replacement; fractions
            interpolate.
        background: of the replacements that an `ablation` made.
        inputs: the clean prompts.
    """
    matrix = grid.mask_matrix(mask.astype(model.embedding.dtype))
    moved = compute_differences(model, matrix, grid, background, inputs)
    final = take_scored(jnp.broadcast_to(background.final, moved.shape[1:]), inputs.score_at)
    return model.unembed(
        final + sum_kept_edges(matrix[-1:], take_scored(moved, inputs.score_at))[0]
    )


def compute_differences(
    model: Transformer,
    matrix: Float[Array, "readers writers"],
    grid: Grid,
    background: Background,
    inputs: Inputs,
) -> Float[Array, "writers batch pos d"]:
    """``moved``, of all writers, under a mask as a matrix."""
    n_heads = model.spec.n_heads
    embed = model.embed(inputs.tokens, inputs.positions)
    replaced_embed, replaced = split_by_layer(background.writers, model.spec.n_layers)
    positions = model.positions_of(inputs.tokens, inputs.mask, inputs.positions)

    def run_layer(moved: Array, layer: Any) -> tuple[Array, None]:
        (block, settings), rows, slots, old, into_heads, into_mlp = layer
        # rows of the layer's readers: [heads, batch, pos, d] for each of q, k and v
        x_q, x_k, x_v = (
            into_heads + sum_kept_edges(matrix[readers], moved) for readers in rows[:3]
        )
        heads = block.run_heads(x_q, x_k, x_v, positions, settings) - old[:n_heads]
        moved = jax.lax.dynamic_update_slice_in_dim(moved, heads, slots[0][0], axis=0)
        if block.mlp is not None:
            mlp = block.mlp(into_mlp + sum_kept_edges(matrix[rows[3]], moved)[0]) - old[n_heads]
            moved = jax.lax.dynamic_update_slice_in_dim(moved, mlp[None], slots[1][0], axis=0)
        return moved, None

    # [writers, batch, pos, d]: filled layer by layer; writers of later layers are zero meanwhile
    moved = jnp.zeros((matrix.shape[-1], *embed.shape), embed.dtype)
    moved = moved.at[0].set(embed - replaced_embed)
    rows, slots = (grid.q, grid.k, grid.v, grid.mlp), (grid.heads, grid.mlps)
    streams = (background.into_heads, background.into_mlp)
    layers = (model.stacked_layers(), rows, slots, replaced, *streams)
    moved, _ = jax.lax.scan(run_layer, moved, layers)
    return moved


def sum_kept_edges(
    mask: Float[Array, "readers writers"], moved: Float[Array, "writers *axes"]
) -> Float[Array, "readers *axes"]:
    """What each reader gets of the writers' differences.

    As one plain matrix product, [readers, writers] @ [writers, all other axes], the fastest form.
    """
    return (mask @ moved.reshape(moved.shape[0], -1)).reshape(-1, *moved.shape[1:])
