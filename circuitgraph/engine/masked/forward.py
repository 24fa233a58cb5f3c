"""The masked forward pass, as pure functions of parameters, mask and prompts.

A reader's input is ``sum of all replacements + constants + sum over kept edges (writer now - its
replacement)``.
The first two terms are the `Background`; ``moved`` below holds each writer's difference to its
replacement.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Bool, Float, Int

from circuitgraph.graph.graph import Graph
from circuitgraph.models.positions import Settings
from circuitgraph.models.transformer import Transformer


class Inputs(NamedTuple):
    """One side (clean or corrupted) of a batch of right-padded prompts."""

    tokens: Int[Array, "batch pos"]
    mask: Bool[Array, "batch pos"]
    positions: Int[Array, "batch pos"]
    score_at: Int[Array, " batch"]


class Cells(NamedTuple):
    """Where each edge stands in the matrix of readers x writers.

    Attributes:
        edge: number of the edge of that cell, n_edges where there is none.
        direct: number of a reader's direct edge, n_edges + 1 where it has none.
        q, k, v, mlp: which readers these are, layer by layer. ``kv_heads`` are heads, or key-value
            heads.
    """

    edge: Int[Array, "readers writers"]
    direct: Int[Array, " readers"]
    q: Int[Array, "layers heads"]
    k: Int[Array, "layers kv_heads"]
    v: Int[Array, "layers kv_heads"]
    mlp: Int[Array, "layers none_or_one"]

    @classmethod
    def of(cls, graph: Graph) -> Cells:
        """The cells of a graph."""
        dst, src = graph.ends
        numbers, ordinary = np.arange(graph.n_edges), src >= 0
        edge = np.full(graph.legal.shape, graph.n_edges, np.int32)
        edge[dst[ordinary], src[ordinary]] = numbers[ordinary]
        direct = np.full(len(graph.readers), graph.n_edges + 1, np.int32)
        direct[dst[~ordinary]] = numbers[~ordinary]
        kinds = np.array([reader.kind for reader in graph.readers])
        rows = (
            np.flatnonzero(kinds == kind).reshape(graph.n_layers, -1)
            for kind in ("q", "k", "v", "mlp")
        )
        return cls(
            jnp.asarray(edge), jnp.asarray(direct), *(jnp.asarray(part, jnp.int32) for part in rows)
        )

    def matrix(self, mask: Float[Array, " edges"]) -> Float[Array, "readers writers"]:
        """The mask as a matrix; differentiable.

        A head whose direct edge is absent uses its replaced q (k, v): the one it computes when
        nothing kept reaches that input. So an absent direct edge is the same as all edges of that
        input absent.
        """
        padded = jnp.concatenate([mask, jnp.array([0.0, 1.0], mask.dtype)])
        return padded[self.edge] * padded[self.direct][:, None]


def scored(
    x: Float[Array, "*lead batch pos d"], at: Int[Array, " batch"]
) -> Float[Array, "*lead batch d"]:
    """``x`` at each example's scored position."""
    index = at.reshape((1,) * (x.ndim - 3) + (-1, 1, 1))
    return jnp.take_along_axis(x, index, axis=-2)[..., 0, :]


def full_logits(model: Transformer, inputs: Inputs) -> Float[Array, "batch vocab"]:
    """Logits of the untouched model at the scored positions."""
    x = model.residual(inputs.tokens, inputs.mask, inputs.positions)
    return model.logits(scored(x, inputs.score_at))


def writer_values(model: Transformer, inputs: Inputs) -> Float[Array, "writers batch pos d"]:
    """What every writer adds to the residual stream in an untouched run, in the order of
    `Graph.writers`.
    """
    where = model.place(inputs.tokens, inputs.mask, inputs.positions)

    def layer(
        x: Float[Array, "batch pos d"], xs: tuple[Any, Settings]
    ) -> tuple[Float[Array, "batch pos d"], Array]:
        block, own = xs
        written = block.attention.contributions(
            block.attention.mix(x[None], x[None], x[None], where, own)
        )
        after = x + written.sum(0) + block.attention.constant
        if block.mlp is not None:
            mlp = block.mlp(x if model.spec.parallel else after)
            after, written = after + mlp, jnp.concatenate([written, mlp[None]])
        return after, written

    embed = model.embed(inputs.tokens, inputs.positions)
    _, written = jax.lax.scan(layer, embed, model.layers())
    return jnp.concatenate([embed[None], written.reshape(-1, *embed.shape)])


class Background(NamedTuple):
    """All that a reader gets whatever the mask: ``sum of replacements + constants``, made once per
    batch.

    Attributes:
        writers: the replacement of every writer.
        into_heads, into_mlp: what every head, or the MLP, of each layer gets.
        final: what the logits get.
    """

    writers: Float[Array, "writers one_or_batch one_or_pos d"]
    into_heads: Float[Array, "layers one_or_batch one_or_pos d"]
    into_mlp: Float[Array, "layers one_or_batch one_or_pos d"]
    final: Float[Array, "one_or_batch one_or_pos d"]

    @classmethod
    def of(
        cls, model: Transformer, replacement: Float[Array, "writers one_or_batch one_or_pos d"]
    ) -> Background:
        """The background that these replacements of all writers make."""
        n_layers, n_heads = model.spec.n_layers, model.spec.n_heads
        by_layer = replacement[1:].reshape(n_layers, -1, *replacement.shape[1:])
        from_heads = (
            by_layer[:, :n_heads].sum(1) + model.blocks.attention.constant[:, None, None, :]
        )
        after = replacement[0] + jnp.cumsum(from_heads + by_layer[:, n_heads:].sum(1), axis=0)
        into_heads = jnp.concatenate([replacement[:1], after[:-1]])
        into_mlp = into_heads if model.spec.parallel else into_heads + from_heads
        return cls(replacement, into_heads, into_mlp, after[-1])


def masked_logits(
    model: Transformer,
    mask: Float[Array, " edges"],
    cells: Cells,
    background: Background,
    inputs: Inputs,
) -> Float[Array, "batch vocab"]:
    """Logits at the scored positions when only the edges in ``mask`` carry what their writer says
    now.

    Args:
        mask: 1 where an edge is kept, 0 where it carries its writer's replacement; fractions
            interpolate.
        background: of the replacements that an `ablation` made.
        inputs: the clean prompts.
    """
    n_layers, n_heads = model.spec.n_layers, model.spec.n_heads
    embed = model.embed(inputs.tokens, inputs.positions)
    matrix = cells.matrix(mask.astype(embed.dtype))
    replaced = background.writers[1:].reshape(n_layers, -1, *background.writers.shape[1:])
    where = model.place(inputs.tokens, inputs.mask, inputs.positions)

    def layer(carry: tuple[Array, Array], xs: Any) -> tuple[tuple[Array, Array], None]:
        moved, place = carry
        (block, own), readers, old, into_heads, into_mlp = xs
        x_q, x_k, x_v = (into_heads + mixed(matrix[rows], moved) for rows in readers[:3])
        heads = (
            block.attention.contributions(block.attention.mix(x_q, x_k, x_v, where, own))
            - old[:n_heads]
        )
        moved = jax.lax.dynamic_update_slice_in_dim(moved, heads, place, axis=0)
        if block.mlp is not None:
            written = block.mlp(into_mlp + mixed(matrix[readers[3]], moved)[0]) - old[n_heads]
            moved = jax.lax.dynamic_update_slice_in_dim(
                moved, written[None], place + n_heads, axis=0
            )
        return (moved, place + len(old)), None

    moved = (
        jnp.zeros((matrix.shape[-1], *embed.shape), embed.dtype)
        .at[0]
        .set(embed - background.writers[0])
    )
    readers = (cells.q, cells.k, cells.v, cells.mlp)
    by_layer = (model.layers(), readers, replaced, background.into_heads, background.into_mlp)
    (moved, _), _ = jax.lax.scan(layer, (moved, jnp.int32(1)), by_layer)
    final = scored(jnp.broadcast_to(background.final, embed.shape), inputs.score_at)
    return model.logits(final + mixed(matrix[-1:], scored(moved, inputs.score_at))[0])


def mixed(
    mask: Float[Array, "readers writers"], moved: Float[Array, "writers *axes"]
) -> Float[Array, "readers *axes"]:
    """What each reader gets of the writers' differences; as one plain matrix product, the fastest
    form there is.
    """
    return (mask @ moved.reshape(moved.shape[0], -1)).reshape(-1, *moved.shape[1:])
