"""Direct logit attribution: what each writer, key and neuron adds to logits by itself.

With the divisors of the norms on the way as they are in this run, a logit (before a soft cap) is a
sum over writers. So it has one gradient along the final stream, and each part is its inner product
with what a writer adds.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, Int

from circuitgraph.engine.batch import Batch, take_scored
from circuitgraph.engine.trace import trace_model
from circuitgraph.models.attention import Attention
from circuitgraph.models.mlp import MLP, apply_linear
from circuitgraph.models.positions import LayerSettings, Positions
from circuitgraph.models.transformer import Block, Stream, Transformer

Scored = Float[Array, "batch scored d"]


class DirectRun(NamedTuple):
    """What each part adds to the answer's logit, less what it adds to the distractor's if wanted.

    Over several scored positions, their sum by the prompts' weights.

    Attributes:
        embed: what the embedding adds.
        heads: what each head adds, by the key that it fetched it from.
        mlps: what each MLP adds; zeros where the model has none.
        attention_biases: what each attention's output bias adds.
        biases: what the biases of the last norm and of the unembedding add.
        total: the sum of all, which is the logit before a soft cap.
    """

    embed: Float[Array, " batch"]
    heads: Float[Array, "layers heads batch keys"]
    mlps: Float[Array, "layers batch"]
    attention_biases: Float[Array, "layers batch"]
    biases: Float[Array, " batch"]
    total: Float[Array, " batch"]


@eqx.filter_jit
def run_direct(model: Transformer, batch: Batch, minus_distractor: bool) -> DirectRun:
    """Take the logits of clean prompts apart."""
    inputs, at = batch.inputs, batch.inputs.score_at
    with jax.default_matmul_precision("highest"):
        has_mlps = model.blocks.mlp is not None
        trace = trace_model(model, inputs, ["stream", *(["mlp_input"] if has_mlps else [])])
        final, embed = (take_scored(x, at) for x in (trace.final, trace.embed))
        gradient, biases = _find_gradient(model, batch, final, minus_distractor)
        positions = model.positions_of(inputs.tokens, inputs.mask, inputs.positions)
        queries = positions.queries_at(at)

        def read_layer(layer: tuple[tuple[Block, LayerSettings], Array, Array | None]) -> Any:
            (block, settings), x, mlp_input = layer
            heads = _read_heads(block.attention, x, at, (positions, queries), settings, gradient)
            constant = jnp.broadcast_to(block.attention.constant, gradient.shape)
            if block.mlp is None or mlp_input is None:
                return heads, jnp.zeros_like(biases), _weigh(gradient, constant)
            written = block.mlp(take_scored(mlp_input, at))
            return heads, _weigh(gradient, written), _weigh(gradient, constant)

        layers = (model.stacked_layers(), trace.stream, trace.mlp_input)
        heads, mlps, constants = jax.lax.map(read_layer, layers)
        total = _weigh(gradient, final) + biases
        return DirectRun(_weigh(gradient, embed), heads, mlps, constants, biases, total)


@eqx.filter_jit
def run_direct_neurons(
    model: Transformer, batch: Batch, minus_distractor: bool, layer: np.int32 | Int[Array, ""]
) -> Float[Array, "batch d_mlp"]:
    """What each hidden neuron of one layer adds; not of a mixture of experts."""
    at = batch.inputs.score_at
    with jax.default_matmul_precision("highest"):
        trace = trace_model(model, batch.inputs, ["mlp_input"])
        assert trace.mlp_input is not None  # noqa: S101 - it was to be kept
        final = take_scored(trace.final, at)
        gradient, _ = _find_gradient(model, batch, final, minus_distractor)
        mlp = model.select_layer(layer)[0].mlp
        assert mlp is not None  # noqa: S101 - who asks for neurons has checked it
        hidden = mlp.read_hidden(take_scored(trace.mlp_input[layer], at))
        whole = apply_linear(hidden, mlp.w_out, mlp.b_out)
        gradient = _pull_back(partial(_write_part, mlp, whole), gradient)
        return jnp.einsum("bsm,bsd,dm->bm", hidden, gradient, mlp.w_out)


def _find_gradient(
    model: Transformer, batch: Batch, final: Scored, minus_distractor: bool
) -> tuple[Scored, Float[Array, " batch"]]:
    """The logit's gradient along the final stream, and what biases add to it."""
    targets, rows = batch.targets, final.reshape(-1, final.shape[-1])
    assert targets.answer is not None  # noqa: S101 - who asks has checked it
    weights = targets.token_weights
    if weights is None:
        weights = targets.position_weights
    if weights is None:
        weights = jnp.ones(final.shape[:2], final.dtype)
    signed = [(targets.answer, 1.0)]
    if minus_distractor:
        assert targets.distractor is not None  # noqa: S101 - likewise
        signed.append((targets.distractor, -1.0))

    def sum_signed(read: Callable[[Array], Array]) -> Float[Array, "batch scored"]:
        each = [sign * read(jnp.maximum(token, 0).reshape(-1, 1)) for token, sign in signed]
        return sum(each[1:], each[0]).reshape(weights.shape)

    def attribute(part: Scored) -> Float[Array, "batch scored"]:
        flat = part.reshape(rows.shape)
        return sum_signed(lambda tokens: model.attribute_logits(flat, rows, tokens))

    _, pull = jax.vjp(attribute, jnp.zeros_like(final))
    (gradient,) = pull(weights.astype(final.dtype))
    return gradient, (sum_signed(model.constant_logits) * weights).sum(1)


def _read_heads(
    attention: Attention,
    x: Stream,
    at: Int[Array, "batch scored"],
    positions: tuple[Positions, Positions],
    settings: LayerSettings,
    gradient: Scored,
) -> Float[Array, "heads batch keys"]:
    """What each head adds, by the key that it fetched it from; positions of keys, of queries."""
    q = attention.project_queries(take_scored(x, at)[None], positions[1], settings)
    k, v = (
        attention.project_keys(x[None], positions[0], settings),
        attention.project_values(x[None]),
    )
    # key-value heads for each query head: [heads, batch, keys, d_head]
    k, v = (jnp.repeat(each, len(q) // len(each), axis=0) for each in (k, v))
    pattern = attention.attention_pattern(q, k, positions[1], settings)
    whole = jnp.einsum("hbsk,hbke,hde->bsd", pattern, v, attention.w_o)
    gradient = _pull_back(partial(_write_part, attention, whole), gradient)
    along = jnp.einsum("hde,bsd->hbse", attention.w_o, gradient)
    return (jnp.einsum("hbse,hbke->hbsk", along, v) * pattern).sum(2)


def _write_part(module: Attention | MLP, whole: Scored, part: Scored) -> Scored:
    """What a part of what a module's output weights write adds to the stream."""
    if module.post_norm is not None:
        part = module.post_norm.apply_to_part(part, whole)
    return part * module.spec.residual_scale


def _pull_back(write: Callable[[Scored], Scored], gradient: Scored) -> Scored:
    """The gradient along what a linear function takes, of that along what it gives."""
    _, pull = jax.vjp(write, jnp.zeros_like(gradient))
    return pull(gradient)[0]


def _weigh(gradient: Scored, written: Scored) -> Float[Array, " batch"]:
    return jnp.einsum("bsd,bsd->b", gradient, written)
