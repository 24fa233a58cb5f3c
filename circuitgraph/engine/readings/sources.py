"""What heads fetch, by where they fetch it: a head's output is a sum over source positions."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from circuitgraph.engine.attribution.gradients import Gradients, Held, visit_gradients
from circuitgraph.engine.batch import Batch, Inputs
from circuitgraph.engine.trace import trace_model
from circuitgraph.models.attention import Attention
from circuitgraph.models.transformer import Block, Transformer
from circuitgraph.tasks.metrics import Metric

HeadValues = Float[Array, "heads batch pos d_head"]


@eqx.filter_jit
def run_source_effects(
    model: Transformer, batch: Batch, metric: Metric
) -> Float[Array, "layers heads batch keys"]:
    """What the loss rises by, to first order, if what a head fetches at a key becomes what it
    fetches there in the corrupted run: ``(corrupted - clean part) . gradient at the output``.

    A part is the pattern's share times what the head makes of the key's value, under a post-norm by
    the divisor of its own run. The parts sum to the head's output, the effects to the head's.
    """
    corrupted = batch.corrupted
    assert corrupted is not None  # noqa: S101 - the prompts were checked

    def weigh(gradients: Gradients, extra: Any) -> Float[Array, "heads batch keys"]:
        block, *sides = extra
        near, far = (
            _weigh_sources(block.attention, pattern, values, whole, gradients.heads)
            for pattern, values, whole in sides
        )
        return far - near

    with jax.default_matmul_precision("highest"):
        start = model.embed(batch.inputs.tokens, batch.inputs.positions)
        nothing = jnp.zeros(model.spec.n_layers, bool)
        sides = [_trace_heads(model, inputs) for inputs in (batch.inputs, corrupted)]
        held, extra = Held(nothing, nothing, start), (model.blocks, *sides)
        n_heads = model.spec.n_heads
        return visit_gradients(model, start, held, batch, metric, n_heads, weigh, extra)[1]


def _trace_heads(model: Transformer, inputs: Inputs) -> tuple[Array, Array, Array]:
    """Of all layers: the pattern, the keys' values of each head, what all heads write together."""
    trace = trace_model(model, inputs, ["stream", "pattern", "raw_heads"])
    assert trace.raw_heads is not None  # noqa: S101 - it was to be kept

    def project_values(layer: tuple[Block, Array]) -> HeadValues:
        block, x = layer
        values = block.attention.project_values(x[None])
        return jnp.repeat(values, model.spec.n_heads // len(values), axis=0)

    values = jax.lax.map(project_values, (model.blocks, trace.stream))
    return trace.pattern, values, trace.raw_heads.sum(1)  # pyright: ignore[reportReturnType]


def _weigh_sources(
    attention: Attention,
    pattern: Float[Array, "heads batch queries keys"],
    values: HeadValues,
    whole: Float[Array, "batch pos d"],
    gradient: Float[Array, "batch pos d"],
) -> Float[Array, "heads batch keys"]:
    """The inner product of each key's part of each head's output with a gradient there."""

    def write_heads(z: HeadValues) -> Float[Array, "heads batch pos d"]:
        each = jax.vmap(attention.head_output)(z, jnp.arange(len(z)))
        if attention.post_norm is None:
            return each
        return attention.apply_post_norm(each, jnp.broadcast_to(whole, each.shape))

    # linear in what a head fetched, the divisor given
    _, pull = jax.vjp(write_heads, values)
    (d_z,) = pull(jnp.broadcast_to(gradient, (len(values), *gradient.shape)))
    return jnp.einsum("hbqk,hbke,hbqe->hbk", pattern, values, d_z)
