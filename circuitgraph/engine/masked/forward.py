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
from circuitgraph.engine.batch import Inputs, take_scored, take_scored_values
from circuitgraph.engine.grid import Grid, join_layers, split_by_layer
from circuitgraph.engine.masked.own_inputs import read_own_units
from circuitgraph.engine.trace import Trace, trace_model
from circuitgraph.engine.values import (
    Values,
    make_empty_units,
    put_layer,
    sum_writers,
    take_layer,
)
from circuitgraph.models.mlp import MLP
from circuitgraph.models.transformer import Transformer
from circuitgraph.models.units import LayerUnits


def compute_full_logits(model: Transformer, inputs: Inputs) -> Float[Array, "batch scored vocab"]:
    """Logits of the untouched model at the scored positions."""
    x = model.final_residual(inputs.tokens, inputs.mask, inputs.positions)
    return model.unembed(take_scored(x, inputs.score_at))


def compute_writer_values(model: Transformer, inputs: Inputs) -> Values:
    """What every writer adds to the residual stream in an untouched run."""
    keep = ["writers"]
    keep += [] if model.units is None else ["mlp_input"]
    keep += [] if model.sources is None else ["stream"]
    return collect_writers(model, trace_model(model, inputs, keep), inputs)


def collect_writers(model: Transformer, trace: Trace, inputs: Inputs) -> Values:
    """What every writer adds in a run that kept writers; the stream too if heads are split, and the
    MLPs' inputs if MLPs are.
    """
    assert trace.writers is not None  # noqa: S101 - it was to be kept
    layers, writers = model.layers_of_units, trace.writers
    if model.sources is not None:
        heads = _split_heads(model, trace, inputs)
        writers = jnp.concatenate([heads, writers[:, model.spec.n_heads :]], axis=1)
    if layers is None:
        return Values.of_nodes(join_layers(trace.embed, writers))

    def split_mlp(layer: tuple[MLP, LayerUnits, Array]) -> tuple[Array, Array]:
        mlp, own, x = layer
        return model.split_mlp(mlp, own).write_parts(x)

    vectors, units = jax.lax.map(split_mlp, (model.blocks.mlp, layers, trace.mlp_input))
    nodes = join_layers(trace.embed, jnp.concatenate([writers[:, :-1], vectors], axis=1))
    return Values(nodes, put_layer(make_empty_units(model.units, trace.embed), layers.slots, units))


def _split_heads(
    model: Transformer, trace: Trace, inputs: Inputs
) -> Float[Array, "layers parts batch pos d"]:
    """What the heads of each layer and their parts add in a run that kept the stream."""
    positions = model.positions_of(inputs.tokens, inputs.mask, inputs.positions)

    def split_layer(layer: Any) -> Float[Array, "parts batch pos d"]:
        (block, settings), own, x = layer
        x = x[None]
        return block.run_heads(x, x, x, positions, settings, own, inputs.sources)

    layers = (model.stacked_layers(), model.layers_of_sources, trace.stream)
    return jax.lax.map(split_layer, layers)


def compute_errors(model: Transformer, inputs: Inputs) -> Float[Array, "layers batch pos d"]:
    """What the dictionary of each layer does not reconstruct in an untouched run."""
    _, by_layer = split_by_layer(compute_writer_values(model, inputs).nodes, model.spec.n_layers)
    return by_layer[:, -1]


def compute_masked_logits(
    model: Transformer,
    mask: Float[Array, " edges"],
    grid: Grid,
    background: Background,
    inputs: Inputs,
    errors: Float[Array, "layers batch pos d"] | None = None,
) -> Float[Array, "batch scored vocab"]:
    """Logits at the scored positions when only the edges in ``mask`` carry their writers' values.

    A head hides the keys that the clean prompt hides (padding, a ``masked_token``), also where an
    absent edge carries the replacement of the embedding into its keys.

    Args:
        mask: 1 where an edge is kept, 0 where it carries its writer's replacement; fractions
            interpolate.
        background: of the replacements that an `ablation` made.
        inputs: the clean prompts.
        errors: what dictionaries do not reconstruct in the clean run; needed where they are frozen.
    """
    matrix = grid.mask_matrix(mask.astype(model.embedding.dtype))
    moved = compute_differences(model, matrix, grid, background, inputs, errors)
    final = jnp.broadcast_to(background.final, moved.nodes.shape[1:])
    scored = take_scored_values(moved, inputs.score_at)
    added = sum_writers(matrix[-1:], scored, model.units)[0]
    return model.unembed(take_scored(final, inputs.score_at) + added)


def compute_differences(
    model: Transformer,
    matrix: Float[Array, "readers writers"],
    grid: Grid,
    background: Background,
    inputs: Inputs,
    errors: Float[Array, "layers batch pos d"] | None = None,
) -> Values:
    """``moved``, of all writers, under a mask as a matrix."""
    n_heads, units = model.n_head_slots, model.units
    embed = model.embed(inputs.tokens, inputs.positions)
    replaced_embed, replaced = split_by_layer(background.writers.nodes, model.spec.n_layers)
    positions = model.positions_of(inputs.tokens, inputs.mask, inputs.positions)

    def run_layer(moved: Values, layer: Any) -> tuple[Values, None]:
        (block, settings), own, apart, rows, slots, old, error, into_heads, into_mlp = layer
        nodes, of_units = moved
        # rows of the layer's readers: [heads, batch, pos, d] for each of q, k and v
        x_q, x_k, x_v = (
            into_heads + sum_writers(matrix[readers], moved, units) for readers in rows[:3]
        )
        heads = block.run_heads(x_q, x_k, x_v, positions, settings, apart, inputs.sources)
        heads -= old[:n_heads]
        nodes = jax.lax.dynamic_update_slice_in_dim(nodes, heads, slots[0][0], axis=0)
        if block.mlp is not None:
            x = into_mlp + sum_writers(matrix[rows[3]], Values(nodes, of_units), units)[0]
            if own is None:
                vectors = block.mlp(x)[None]
            else:
                split = model.split_mlp(block.mlp, own)
                vectors, numbers = split.write_parts(x)
                if units is not None and units.own_inputs:
                    kept = take_layer(matrix[grid.units], own)
                    now = Values(nodes, of_units)
                    numbers = read_own_units(split, kept, into_mlp, now, units)
                if error is not None:
                    vectors = vectors.at[1].set(jnp.where(own.frozen, error, vectors[1]))
                numbers -= take_layer(background.writers.units, own)
                of_units = put_layer(of_units, own.slots, numbers)
            # the MLP, or its rest and, right behind it, its error
            vectors -= old[n_heads:]
            nodes = jax.lax.dynamic_update_slice_in_dim(nodes, vectors, slots[1][0], axis=0)
        return Values(nodes, of_units), None

    # filled layer by layer; writers of later layers are zero meanwhile
    nodes = jnp.zeros((len(background.writers.nodes), *embed.shape), embed.dtype)
    moved = Values(nodes.at[0].set(embed - replaced_embed), make_empty_units(units, embed))
    rows, slots = (grid.q, grid.k, grid.v, grid.mlp), (grid.heads, grid.mlps)
    streams = (background.into_heads, background.into_mlp)
    assert errors is not None or model.units is None or not model.units.freezes  # noqa: S101
    own = (model.layers_of_units, model.layers_of_sources, rows, slots, replaced, errors)
    layers = (model.stacked_layers(), *own, *streams)
    moved, _ = jax.lax.scan(run_layer, moved, layers)
    return moved
