"""Programs for single nodes of a model, on rows of a pool of prompts: what the tree and the swaps
are put together of.

Which layer, head or neuron, and which prompts, are arguments at run time, so that each is compiled
once for all trees.
Axes: ``prompts`` are those of the pool, ``batch`` the rows of one launch.
"""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float, Int

from circuitgraph.engine.masked.forward import Inputs, scored
from circuitgraph.models.positions import Place, Settings
from circuitgraph.models.transformer import Block, Transformer
from circuitgraph.tasks.metrics import Metric, Targets

Rows = Any  # Int[np.ndarray, " batch"], or a tracer of it
Number = Any  # np.int32, or a tracer of it


class Labels(NamedTuple):
    """What metrics compare logits with; as in `Targets`, but for the whole model's logits."""

    answer: Int[Array, " prompts"]
    distractor: Int[Array, " prompts"] | None
    right: Int[Array, "prompts right"] | None
    wrong: Int[Array, "prompts wrong"] | None


@jax.jit
def run_embed(model: Transformer, prompts: Inputs, rows: Rows) -> Float[Array, "batch pos d"]:
    own = _of(prompts, rows)
    return model.embed(own.tokens, own.positions)


@jax.jit
def run_attention(
    model: Transformer, prompts: Inputs, rows: Rows, layer: Number, x: Float[Array, "batch pos d"]
) -> tuple[Float[Array, "batch pos d"], Float[Array, "heads batch pos d_head"]]:
    """The stream after a layer's attention, and what each head has fetched."""
    with jax.default_matmul_precision("highest"):
        (block, own), where = _layer(model, layer), _place(model, prompts, rows)
        mixed = block.attention.mix(x[None], x[None], x[None], where, own)
        return x + block.attention.output(mixed), mixed


@jax.jit
def run_after_mlp(
    model: Transformer,
    layer: Number,
    read: Float[Array, "batch pos d"],
    x: Float[Array, "batch pos d"],
) -> Float[Array, "batch pos d"]:
    """The stream ``x`` and what the MLP, which reads ``read``, adds to it."""
    return x + run_mlp(model, layer, read)


@jax.jit
def run_mlp(
    model: Transformer, layer: Number, x: Float[Array, "batch pos d"]
) -> Float[Array, "batch pos d"]:
    with jax.default_matmul_precision("highest"):
        mlp = _layer(model, layer)[0].mlp
        assert mlp is not None  # noqa: S101 - sites are checked before
        return mlp(x)


@jax.jit
def run_neuron(
    model: Transformer, layer: Number, index: Number, x: Float[Array, "batch pos d"]
) -> Float[Array, "batch pos d"]:
    with jax.default_matmul_precision("highest"):
        mlp = _layer(model, layer)[0].mlp
        assert mlp is not None  # noqa: S101 - sites are checked before
        return mlp.neuron(x, jnp.asarray(index))


@jax.jit
def run_head(
    model: Transformer,
    prompts: Inputs,
    rows: Rows,
    place: tuple[Number, Number],
    x: tuple[Float[Array, "batch pos d"], Float[Array, "batch pos d"], Float[Array, "batch pos d"]],
    others: Float[Array, "batch pos d"] | None,
) -> Float[Array, "batch pos d"]:
    """What one head writes, given its three inputs; its positions are those of the prompts in
    ``rows``.

    Args:
        place: layer and head.
        others: what the layer's other heads write into the post-norm, if there is one.
    """
    with jax.default_matmul_precision("highest"):
        layer, head = (jnp.asarray(number) for number in place)
        (block, own), where = _layer(model, layer), _place(model, prompts, rows)
        at = block.attention
        q, k, v = (
            at.queries(x[0][None], where, own, head),
            at.keys(x[1][None], where, own, head),
            x[2][None],
        )
        written = at.written(at.look(q, k, at.values(v, head), where, own, head)[0], head)
        return written if others is None else at.share(written, others + written)


@jax.jit
def run_others(
    model: Transformer,
    prompts: Inputs,
    rows: Rows,
    place: tuple[Number, Number],
    x: Float[Array, "batch pos d"],
) -> Float[Array, "batch pos d"]:
    """What all heads of a layer but one write into the post-norm in a plain run."""
    with jax.default_matmul_precision("highest"):
        layer, head = place
        (block, own), where = _layer(model, layer), _place(model, prompts, rows)
        mixed = block.attention.mix(x[None], x[None], x[None], where, own)
        return jnp.einsum("hbpe,hde->bpd", mixed.at[head].set(0.0), block.attention.w_o)


@jax.jit
def run_contribution(
    model: Transformer, place: tuple[Number, Number], mixed: Float[Array, "heads batch pos d_head"]
) -> Float[Array, "batch pos d"]:
    """What one head adds to the stream, of what all heads of its layer have fetched."""
    with jax.default_matmul_precision("highest"):
        layer, head = (jnp.asarray(number) for number in place)
        attention = _layer(model, layer)[0].attention
        written = attention.written(mixed[head], head)
        if attention.post_norm is None:
            return written
        return attention.share(written, jnp.einsum("hbpe,hde->bpd", mixed, attention.w_o))


@jax.jit
def run_pattern(
    model: Transformer,
    prompts: Inputs,
    rows: Rows,
    place: tuple[Number, Number],
    x: Float[Array, "batch pos d"],
) -> Float[Array, "batch queries keys"]:
    """Where one head looks."""
    with jax.default_matmul_precision("highest"):
        layer, head = (jnp.asarray(number) for number in place)
        (block, own), where = _layer(model, layer), _place(model, prompts, rows)
        q, k = (
            each(x[None], where, own, head)
            for each in (block.attention.queries, block.attention.keys)
        )
        return block.attention.pattern(q, k, where, own, head)[0]


@partial(jax.jit, static_argnames="metrics")
def run_reading(
    model: Transformer,
    prompts: tuple[Inputs, Labels],
    rows: Rows,
    x: Float[Array, "batch pos d"],
    plain: Float[Array, "prompts pos d"],
    metrics: tuple[Metric, ...],
) -> tuple[Float[Array, "metrics batch"], Int[Array, " batch"]]:
    """Metrics and top token of final streams.

    Args:
        plain: every prompt's own final stream, for metrics that compare with the whole model.
    """
    with jax.default_matmul_precision("highest"):
        at, labels = prompts[0].score_at[rows], jax.tree.map(lambda a: a[rows], prompts[1])
        logits, full = (model.logits(scored(stream, at)) for stream in (x, plain[rows]))
        targets = Targets(labels.answer, labels.distractor, full, labels.right, labels.wrong)
        values = [metric.function(logits, targets).astype(jnp.float32) for metric in metrics]
        return jnp.stack(values), jnp.argmax(logits, axis=-1).astype(jnp.int32)


@jax.jit
def run_taken(
    values: Float[Array, "prompts pos d"], rows: Rows, at: Int[Array, "batch pos"]
) -> Float[Array, "batch pos d"]:
    """Values of those prompts at those positions."""
    return _taken(values, rows, at)


@jax.jit
def run_moved(
    x: Float[Array, "batch pos d"],
    values: Float[Array, "prompts pos d"],
    to: tuple[Rows, Int[Array, "batch pos"]],
    covers: Bool[Array, "batch pos"],
    now: Float[Array, "batch pos d"],
) -> Float[Array, "batch pos d"]:
    """``x`` with ``now`` in place of the values taken from those prompts and positions, where it is
    covered.
    """
    return x + jnp.where(covers[..., None], now - _taken(values, *to), 0.0)


@jax.jit
def run_replaced(
    x: Float[Array, "batch pos d"],
    now: Float[Array, "batch pos d"],
    covers: Bool[Array, "batch pos"],
    values: Float[Array, "prompts pos d"],
    by: tuple[Int[Array, "batch pos"], Int[Array, "batch pos"]],
) -> Float[Array, "batch pos d"]:
    """``x``, which holds ``now``, with the values taken from those prompts and positions, where it
    is covered.
    """
    return x + jnp.where(covers[..., None], values[by[0], by[1]] - now, 0.0)


def _taken(values: Array, rows: Rows, at: Array) -> Array:
    return values[rows[:, None], at]


def _of(prompts: Inputs, rows: Rows) -> Inputs:
    return Inputs(*(array[rows] for array in prompts))


def _place(model: Transformer, prompts: Inputs, rows: Rows) -> Place:
    own = _of(prompts, rows)
    return model.place(own.tokens, own.mask, own.positions)


def _layer(model: Transformer, layer: Number) -> tuple[Block, Settings]:
    return jax.tree.map(lambda a: a[layer], model.layers())
