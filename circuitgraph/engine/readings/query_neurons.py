"""Query neurons: earlier neurons that a channel of a head reads at the position it looks at."""

from __future__ import annotations

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, Int

from circuitgraph.engine.batch import Batch, Inputs, take_scored
from circuitgraph.engine.readings.head_matrices import fold_norm
from circuitgraph.engine.readings.neurons import list_channel_rows, read_channels
from circuitgraph.engine.trace import Trace, trace_model
from circuitgraph.models.transformer import Block, Transformer

_NO_VALUE = 1e-6  # of the product of both lengths: a channel that reads less has no shares


class Channels(NamedTuple):
    """Some channels of each prompt: where they stand, the key they read, how much they matter."""

    layers: Int[Array, "batch n"]
    neurons: Int[Array, "batch n"]
    keys: Int[Array, "batch n"]
    importances: Float[Array, "batch n"]


class QueryRun(NamedTuple):
    """How much each earlier neuron moves the chosen channels, in the units of importances."""

    mlp: Float[Array, "layers batch d_mlp"] | None
    attention: Float[Array, "layers batch neurons"]


@eqx.filter_jit
def run_query_neurons(model: Transformer, batch: Batch, chosen: Channels) -> QueryRun:
    """Score earlier neurons: over channels, their importance times the share of what they read
    that a neuron has written.

    A channel reads ``<x, k>`` of the stream, over the divisor of the norm, which all parts share:
    k is its row of the value weights times the norm's weight. An attention neuron is the whole of
    what a channel fetches there, from all keys.
    """
    with jax.default_matmul_precision("highest"):
        has_neurons = model.spec.d_mlp is not None and model.spec.experts is None
        keep = ["stream", "z", *(["mlp_input"] if has_neurons else [])]
        trace = trace_model(model, batch.inputs, keep)
        keys = _list_value_keys(model, chosen)
        weights = _weigh_channels(trace, batch.inputs, chosen, keys)

        def share_out(
            number: Int[Array, ""], values: Float[Array, "batch n some"], rows: Array
        ) -> Float[Array, "batch some"]:
            along = jnp.einsum("bnd,sd->bns", keys, rows)
            earlier = jnp.where(number < chosen.layers, weights, 0.0)
            return jnp.einsum("bn,bns->bs", earlier, values * along)

        def score_layer(layer: tuple[Int[Array, ""], Block, Array, Array | None]) -> Any:
            number, block, z, x = layer
            fetched = read_channels(block.attention, take_scored(z, chosen.keys))
            attention = share_out(number, fetched, list_channel_rows(block.attention))
            if block.mlp is None or x is None:
                return None, attention
            every = jnp.arange(block.mlp.w_in.shape[-2])
            values = block.mlp.read_units(take_scored(x, chosen.keys), every)
            rows = block.mlp.unit_rows(every)
            return share_out(number, jnp.moveaxis(values, 0, -1), rows), attention

        numbers = jnp.arange(model.spec.n_layers)
        layers = (numbers, model.blocks, trace.z, trace.mlp_input)
        return QueryRun(*jax.lax.map(score_layer, layers))


def _list_value_keys(model: Transformer, chosen: Channels) -> Float[Array, "batch n d"]:
    """What each channel multiplies the stream with, the norm's divisor apart."""
    spec, attention = model.spec, model.blocks.attention
    head, channel = chosen.neurons // spec.d_head, chosen.neurons % spec.d_head
    keys = attention.w_v[chosen.layers, head // (spec.n_heads // spec.n_kv_heads), channel]
    if attention.norm is None:
        return keys
    # the weight of each layer's norm: [layers, d] -> [batch, n, d]
    norm = jax.tree.map(lambda weight: weight[chosen.layers], attention.norm)
    return fold_norm(norm, keys)


def _weigh_channels(
    trace: Trace, inputs: Inputs, chosen: Channels, keys: Float[Array, "batch n d"]
) -> Float[Array, "batch n"]:
    """The importance of each channel over what it reads."""
    assert trace.stream is not None  # noqa: S101 - it was to be kept
    rows = jnp.arange(len(inputs.tokens))[:, None]
    x = trace.stream[chosen.layers, rows, chosen.keys]
    read = jnp.einsum("bnd,bnd->bn", x, keys)
    size = jnp.linalg.norm(x, axis=-1) * jnp.linalg.norm(keys, axis=-1)
    is_read = jnp.abs(read) > _NO_VALUE * size
    return jnp.where(is_read, chosen.importances / jnp.where(is_read, read, 1.0), 0.0)
