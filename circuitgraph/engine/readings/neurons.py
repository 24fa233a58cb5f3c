"""What neurons write at the scored position: values, scores by the answer, and tokens.

Neurons of MLPs are their hidden units. Neurons of attention are the channels of what heads fetch:
channel j of head h adds its value times column j of the head's output weights.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, Int

from circuitgraph.engine.batch import Batch, take_scored
from circuitgraph.engine.readings.knockouts import Kept, knock_out
from circuitgraph.engine.readings.neuron_scores import NeuronScore
from circuitgraph.engine.readings.written import (
    StreamReader,
    Written,
    make_reader,
    read_answers,
    score_written,
)
from circuitgraph.engine.trace import trace_model
from circuitgraph.models.attention import Attention
from circuitgraph.models.mlp import MLP
from circuitgraph.models.transformer import Transformer


class NeuronRun(NamedTuple):
    """Neurons of MLPs: each score, and the value m of each."""

    scores: Float[Array, "scores layers batch d_mlp"]
    coefficients: Float[Array, "layers batch d_mlp"]


@eqx.filter_jit
def run_mlp_neurons(
    model: Transformer, batch: Batch, scores: tuple[NeuronScore, ...], kept: Kept | None
) -> NeuronRun:
    """Score all neurons of all MLPs, in a run with knock-outs if wanted.

    The last norm's divisor is that of the run without them.
    """
    with jax.default_matmul_precision("highest"):
        whole = trace_model(model, batch.inputs)
        reader = make_reader(model, take_scored(whole.final, batch.inputs.score_at)[:, 0])
        keep = ["after_attention", "mlp_input"]
        edit = None if kept is None else knock_out
        trace = trace_model(model, batch.inputs, keep, edit=edit, layer_data=kept)

        def score_layer(layer: tuple[MLP, Array, Array, Kept | None]) -> NeuronRun:
            mlp, before, x, own = layer
            written = _write_mlp(mlp, before, x)
            if own is not None and own.hidden is not None:
                coefficients = written.coefficients * own.hidden[..., None]
                written = written._replace(coefficients=coefficients)
            scored = score_written(reader, batch, written, scores)[..., 0]
            return NeuronRun(scored, written.coefficients[..., 0])

        before, x = (
            take_scored(kept_value, batch.inputs.score_at)[:, :, 0]
            for kept_value in (trace.after_attention, trace.mlp_input)
            if kept_value is not None
        )
        run = jax.lax.map(score_layer, (model.blocks.mlp, before, x, kept))
        return run._replace(scores=jnp.moveaxis(run.scores, 1, 0))


@eqx.filter_jit
def run_attention_neurons(
    model: Transformer, batch: Batch, scores: tuple[NeuronScore, ...], *, by_key: bool
) -> Float[Array, "scores layers batch neurons places"]:
    """Score all channels of all heads, head after head.

    Args:
        by_key: each key that a channel's value comes from by itself; else their sum.
    """
    with jax.default_matmul_precision("highest"):
        trace = trace_model(model, batch.inputs, ["stream", "z", "pattern"])
        reader = make_reader(model, take_scored(trace.final, batch.inputs.score_at)[:, 0])

        def score_layer(layer: Any) -> Float[Array, "scores batch neurons places"]:
            attention, x, z, pattern = layer
            at = batch.inputs.score_at
            written = write_attention(attention, x, z, pattern, at, by_key=by_key)
            return score_written(reader, batch, written, scores)

        layers = (model.blocks.attention, trace.stream, trace.z, trace.pattern)
        return jnp.moveaxis(jax.lax.map(score_layer, layers), 1, 0)


@eqx.filter_jit
def run_sublayers(
    model: Transformer, batch: Batch
) -> tuple[
    Float[Array, "layers heads batch"], Float[Array, "layers batch"], Float[Array, "layers batch"]
]:
    """The log-probability increase of what each head, each attention and each MLP adds."""
    at = batch.inputs.score_at
    with jax.default_matmul_precision("highest"):
        trace = trace_model(model, batch.inputs, ["stream", "after_attention", "heads"])
        assert trace.stream is not None and trace.heads is not None  # noqa: S101, PT018 - kept
        assert trace.after_attention is not None  # noqa: S101 - likewise
        final = take_scored(trace.final, at)[:, 0]
        reader = make_reader(model, final)
        before, middle, heads = (
            take_scored(x, at)[..., 0, :]
            for x in (trace.stream, trace.after_attention, trace.heads)
        )
        after = jnp.concatenate([before[1:], final[None]])

        def read(x: Float[Array, "batch d"]) -> Float[Array, " batch"]:
            return read_answers(reader, batch, x)

        def read_layer(layer: Any) -> Any:
            start, middle, after, heads = layer
            base = read(start)
            of_heads = jax.lax.map(lambda own: read(start + own) - base, heads)
            return of_heads, read(middle) - base, read(after) - read(middle)

        return jax.lax.map(read_layer, (before, middle, after, heads))


@eqx.filter_jit
def run_rows(model: Transformer, rows: Float[Array, "n d"], n_top: int) -> Int[Array, "n n_top"]:
    """The tokens whose logits each row raises most, the most raised first."""
    with jax.default_matmul_precision("highest"):
        reader = StreamReader(model, jnp.ones((1, 1), rows.dtype))
        return jax.lax.top_k(reader.read_rows(rows), n_top)[1]


def _write_mlp(mlp: MLP, before: Float[Array, "batch d"], x: Float[Array, "batch d"]) -> Written:
    """What the neurons of an MLP write; ``x`` is what it reads."""
    every = jnp.arange(mlp.w_in.shape[-2])
    return Written(before, mlp.read_units(x, every).T[..., None], mlp.unit_rows(every))


def write_attention(
    attention: Attention,
    x: Float[Array, "batch pos d"],
    z: Float[Array, "heads batch pos d_head"],
    pattern: Float[Array, "heads batch queries keys"],
    at: Int[Array, "batch one"],
    *,
    by_key: bool,
) -> Written:
    """What the channels of all heads write at one position; ``x`` is what the layer reads."""
    own = take_scored(z, at)  # [heads, batch, 1, d_head]
    values = read_channels(attention, own)  # [batch, 1, neurons]
    if by_key:
        v = attention.project_values(x[None])
        v = jnp.repeat(v, len(own) // len(v), axis=0)
        looks = take_scored(pattern, at)[:, :, 0]
        by_head = jnp.einsum("hbk,hbke->bkhe", looks, v)
        values = by_head.reshape(*by_head.shape[:2], -1) * read_divisor(attention, own)
    rows = list_channel_rows(attention)
    return Written(take_scored(x, at)[:, 0], jnp.moveaxis(values, 1, 2), rows)


def read_channels(
    attention: Attention, z: Float[Array, "heads batch pos d_head"]
) -> Float[Array, "batch pos neurons"]:
    """The channels of all heads, each over the divisor of the post-norm if there is one."""
    values = jnp.moveaxis(z, 0, 2)
    return values.reshape(*values.shape[:2], -1) * read_divisor(attention, z)


def read_divisor(
    attention: Attention, z: Float[Array, "heads batch pos d_head"]
) -> Float[Array, "batch pos one"] | float:
    """What a post-norm multiplies a part of what the heads write with."""
    if attention.post_norm is None:
        return 1.0
    return attention.post_norm.compute_factor(jnp.einsum("hbpe,hde->bpd", z, attention.w_o))


def list_channel_rows(attention: Attention) -> Float[Array, "neurons d"]:
    """What each channel of each head adds to the stream for each 1 of `read_channels`."""
    rows = jnp.moveaxis(attention.w_o, 1, 2).reshape(-1, attention.w_o.shape[1])
    if attention.post_norm is not None:
        rows = attention.post_norm.weigh(rows)
    return rows * attention.spec.residual_scale
