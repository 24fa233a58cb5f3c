"""The logit lens: the residual stream between layers, read as if the model ended there."""

from __future__ import annotations

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, Int

from circuitgraph.engine.batch import Batch, Inputs, take_scored
from circuitgraph.engine.trace import trace_model
from circuitgraph.models.norms import to_float32
from circuitgraph.models.transformer import Transformer
from circuitgraph.tasks.metrics import Metric


class LensRun(NamedTuple):
    """What is read in the stream before each layer and after the last one, at scored positions.

    Attributes:
        values: each metric, [streams, metrics, batch].
        top: the likeliest tokens, the likeliest first.
    """

    values: Float[Array, "streams metrics batch"]
    top: Int[Array, "streams batch scored n_top"]


class PromptLensRun(NamedTuple):
    """What is read at every position: ``said`` is what the model says there in the end, ``share``
    its probability in each stream.
    """

    said: Int[Array, "batch pos"]
    share: Float[Array, "streams batch pos"]


@eqx.filter_jit
def run_lens(model: Transformer, batch: Batch, metrics: tuple[Metric, ...], n_top: int) -> LensRun:
    """Read clean prompts; the divisor of the last norm is each stream's own."""
    with jax.default_matmul_precision("highest"):
        streams = take_scored(
            trace_model(model, batch.inputs, ["stream"]).streams, batch.inputs.score_at
        )
        targets = batch.targets._replace(full_logits=model.unembed(streams[-1]))

        def read_stream(x: Array) -> LensRun:
            logits = model.unembed(x)
            values = jnp.stack([metric.measure(logits, targets) for metric in metrics])
            return LensRun(values, jax.lax.top_k(logits, n_top)[1])

        return jax.lax.map(read_stream, streams)


@eqx.filter_jit
def run_lens_everywhere(model: Transformer, inputs: Inputs) -> PromptLensRun:
    """Read clean prompts, few of them: all logits of one stream are alive at a time."""
    with jax.default_matmul_precision("highest"):
        streams = trace_model(model, inputs, ["stream"]).streams
        said = model.unembed(streams[-1]).argmax(-1)

        def read_stream(x: Array) -> Array:
            shares = jax.nn.softmax(to_float32(model.unembed(x)))
            return jnp.take_along_axis(shares, said[..., None], -1)[..., 0]

        return PromptLensRun(said, jax.lax.map(read_stream, streams))
