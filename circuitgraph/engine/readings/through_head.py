"""Neurons as one later head hands them on: through its value and output weights."""

from __future__ import annotations

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, Int

from circuitgraph.engine.batch import Batch, take_scored
from circuitgraph.engine.readings.head_matrices import center_rows, weigh_written
from circuitgraph.engine.readings.neuron_scores import NeuronScore
from circuitgraph.engine.readings.neurons import read_divisor
from circuitgraph.engine.readings.written import (
    Written,
    make_reader,
    score_written,
)
from circuitgraph.engine.trace import trace_model
from circuitgraph.models.attention import Attention
from circuitgraph.models.mlp import MLP
from circuitgraph.models.norms import Norm
from circuitgraph.models.transformer import Transformer

HeadNumber = np.int32 | Int[Array, ""]


class HandedOn(NamedTuple):
    """What a head hands on of each neuron to the scored position.

    Attributes:
        scores: of what it adds there.
        coefficients: the values that the head fetches, over its norm's divisors, summed over keys.
        keys: where most of it comes from.
    """

    scores: Float[Array, "scores layers batch d_mlp"]
    coefficients: Float[Array, "layers batch d_mlp"]
    keys: Int[Array, "layers batch d_mlp"]


@eqx.filter_jit
def run_through_head(
    model: Transformer,
    batch: Batch,
    scores: tuple[NeuronScore, ...],
    layer: HeadNumber,
    head: HeadNumber,
) -> HandedOn:
    """Score all neurons by what one head hands on; those not below the head are zero."""
    at = batch.inputs.score_at
    with jax.default_matmul_precision("highest"):
        trace = trace_model(model, batch.inputs, ["stream", "mlp_input", "z", "pattern"])
        assert trace.stream is not None and trace.z is not None  # noqa: S101, PT018 - kept
        assert trace.pattern is not None  # noqa: S101 - likewise
        attention, x = model.select_layer(layer)[0].attention, trace.stream[layer]
        reader = make_reader(model, take_scored(trace.final, at)[:, 0])
        looks = take_scored(trace.pattern[layer], at)[head, :, 0]  # [batch, keys]
        looks = looks * _read_factors(attention.norm, x)
        divisor = read_divisor(attention, take_scored(trace.z[layer], at))
        looks = looks * jnp.reshape(jnp.asarray(divisor), (-1, 1))
        before = take_scored(x, at)[:, 0]

        def score_layer(own: tuple[Int[Array, ""], MLP, Array]) -> HandedOn:
            number, mlp, mlp_input = own
            every = jnp.arange(mlp.w_in.shape[-2])
            # what the head fetches of each neuron from each key: [batch, keys, d_mlp]
            fetched = jnp.moveaxis(mlp.read_units(mlp_input, every), 0, -1) * looks[..., None]
            fetched = jnp.where(number < layer, fetched, 0.0)
            coefficients = fetched.sum(1)
            rows = _hand_on(attention, head, mlp.unit_rows(every))
            written = Written(before, coefficients[..., None], rows)
            scored = score_written(reader, batch, written, scores)[..., 0]
            return HandedOn(scored, coefficients, jnp.abs(fetched).argmax(1))

        numbers = jnp.arange(model.spec.n_layers)
        run = jax.lax.map(score_layer, (numbers, model.blocks.mlp, trace.mlp_input))
        return run._replace(scores=jnp.moveaxis(run.scores, 1, 0))


@eqx.filter_jit
def transform_rows(
    model: Transformer, rows: Float[Array, "n d"], layer: HeadNumber, head: HeadNumber
) -> Float[Array, "n d"]:
    """What a head adds of rows of the stream, divisors apart."""
    with jax.default_matmul_precision("highest"):
        return _hand_on(model.select_layer(layer)[0].attention, head, rows)


def _hand_on(
    attention: Attention, head: HeadNumber, rows: Float[Array, "n d"]
) -> Float[Array, "n d"]:
    spec = attention.spec
    values = (
        weigh_written(attention.norm, rows)
        @ attention.w_v[head // (spec.n_heads // spec.n_kv_heads)].T
    )
    written = values @ attention.w_o[head].T
    if attention.post_norm is not None:
        written = attention.post_norm.weigh(written)
    return written * spec.residual_scale


def _read_factors(
    norm: Norm | None, x: Float[Array, "batch pos d"]
) -> Float[Array, "batch pos"] | float:
    return 1.0 if norm is None else norm.compute_factor(center_rows(norm, x))[..., 0]
