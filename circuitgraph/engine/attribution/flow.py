"""How near each writer is to what a reader reads: information flow routes, without any gradient."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float

from circuitgraph.engine.batch import Inputs
from circuitgraph.engine.grid import Grid
from circuitgraph.engine.masked.forward import collect_writers
from circuitgraph.engine.trace import trace_model
from circuitgraph.engine.values import Values
from circuitgraph.models.transformer import Transformer


@eqx.filter_jit
def run_flow(
    model: Transformer, inputs: Inputs, grid: Grid, legal: Bool[Array, "readers writers"]
) -> Float[Array, "readers writers"]:
    """The share of each writer in each reader's input, summed over prompts.

    A prompt's share is a mean over its positions. It follows the proximity ``max(0, |x|_1 - |x -
    w|_1)`` of the writer's value w to the input x, over the sum of the proximities of all writers
    that the reader sees; where all are zero, so are the shares (Ferrando and Voita 2024).
    """
    with jax.default_matmul_precision("highest"):
        written, streams = _read_streams(model, inputs)
    weights = inputs.mask / inputs.mask.sum(-1, keepdims=True)
    # readers of one stream see the same writers: the shares are taken once for each stream
    seen = jnp.zeros((len(streams), legal.shape[1]), bool).at[grid.stream].set(legal)

    def find_nearness(x: Array) -> Float[Array, "writers batch pos"]:
        near = jnp.abs(x).sum(-1) - jnp.abs(x - written.nodes).sum(-1)
        if model.units is None:
            return near
        # one unit after the other: together they would take the memory of as many nodes
        of_units = jax.lax.map(
            lambda unit: jnp.abs(x).sum(-1) - jnp.abs(x - unit[0][..., None] * unit[1]).sum(-1),
            (written.units, model.units.rows),
        )
        return jnp.concatenate([near, of_units])

    def take_shares(stream: tuple[Array, Array]) -> Float[Array, " writers"]:
        x, visible = stream
        nearer = find_nearness(x)
        proximity = jnp.where(visible[:, None, None], jnp.maximum(nearer, 0), 0)
        total = proximity.sum(0)
        # not `total > 0`, by which NaN would become a share of zero
        share = jnp.where(total == 0, 0, proximity / jnp.where(total == 0, 1, total))
        return jnp.einsum("wbp,bp->w", share, weights)

    # [streams, writers], then a row for each reader: [readers, writers]
    return jax.lax.map(take_shares, (streams, seen))[grid.stream]


def _read_streams(
    model: Transformer, inputs: Inputs
) -> tuple[Values, Float[Array, "streams batch pos d"]]:
    """What each writer writes in the clean run, and the streams in the order of `Grid.stream`."""
    trace = trace_model(model, inputs, ["writers", "stream", "mlp_input"])
    assert trace.stream is not None  # noqa: S101 - it was to be kept
    into_mlps = trace.stream if trace.mlp_input is None else trace.mlp_input
    streams = jnp.concatenate([trace.stream, into_mlps, trace.final[None]])
    return collect_writers(model, trace, inputs), streams
