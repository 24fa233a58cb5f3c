"""Programs for single nodes, of which the tree and the swaps are put together.

Which layer, head or neuron, and which prompts, are arguments at run time, so that each program is
compiled once for all trees. Axes: ``prompts`` are all that there are, ``batch`` the rows of one
launch.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float, Int

from circuitgraph.engine.batch import Inputs, take_scored
from circuitgraph.models.dictionaries.dictionary import Dictionary
from circuitgraph.models.positions import Positions
from circuitgraph.models.split_mlp import read_mlp_place
from circuitgraph.models.transformer import Transformer
from circuitgraph.tasks.metrics import Metric, Targets

Rows = Any  # Int[np.ndarray, " batch"], or a tracer of it
Number = Any  # np.int32, or a tracer of it
Seen = Any  # Bool[np.ndarray, "batch pos"], or a tracer of it


@jax.jit
def run_embed(model: Transformer, prompts: Inputs, rows: Rows) -> Float[Array, "batch pos d"]:
    inputs = _take_rows(prompts, rows)
    return model.embed(inputs.tokens, inputs.positions)


@jax.jit
def run_attention(
    model: Transformer,
    prompts: Inputs,
    rows: Rows,
    layer: Number,
    x: Float[Array, "batch pos d"],
    seen: Seen,
) -> tuple[Float[Array, "batch pos d"], Float[Array, "heads batch pos d_head"]]:
    """The stream after a layer's attention, and what each head has fetched.

    Args:
        seen: which keys may be looked at.
    """
    with jax.default_matmul_precision("highest"):
        (block, settings), positions = (
            model.select_layer(layer),
            _make_positions(model, prompts, rows, seen),
        )
        run = block.run(x, positions, settings)
        return run.after_attention, run.z


@jax.jit
def add_mlp(
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
        mlp = model.select_layer(layer)[0].mlp
        assert mlp is not None  # noqa: S101 - sites are checked before
        return mlp(x)


@jax.jit
def run_neuron(
    model: Transformer, layer: Number, index: Number, x: Float[Array, "batch pos d"]
) -> Float[Array, "batch pos d"]:
    with jax.default_matmul_precision("highest"):
        mlp = model.select_layer(layer)[0].mlp
        assert mlp is not None  # noqa: S101 - sites are checked before
        return mlp.neuron_output(x, jnp.asarray(index))


@jax.jit
def run_feature(
    model: Transformer,
    dictionary: Dictionary,
    layer: Number,
    index: Number,
    x: Float[Array, "batch pos d"],
) -> Float[Array, "batch pos d"]:
    """What one feature of an MLP's dictionary writes."""
    reads = dictionary.spec.reads
    with jax.default_matmul_precision("highest"):
        mlp = model.select_layer(layer)[0].mlp
        assert mlp is not None  # noqa: S101 - sites are checked before
        assert reads is not None  # noqa: S101 - checked when the model got the dictionary
        values = dictionary.encode(read_mlp_place(mlp, reads.place, x))[..., index]
        return (values[..., None] * dictionary.decoder_rows()[0][index]).astype(x.dtype)


@jax.jit
def run_head(
    model: Transformer,
    prompts: Inputs,
    rows: Rows,
    node: tuple[Number, Number],
    x: tuple[Float[Array, "batch pos d"], Float[Array, "batch pos d"], Float[Array, "batch pos d"]],
    others: Float[Array, "batch pos d"] | None,
    seen: Seen,
    fetched: Rows | None = None,
) -> Float[Array, "batch pos d"]:
    """What one head writes, given its three inputs.

    Args:
        rows: the prompts in whose positions the inputs stand.
        node: layer and head.
        others: what the layer's other heads write into the post-norm, if there is one.
        seen: which keys may be looked at.
        fetched: the one key of each prompt whose part of what the head writes is asked for.
    """
    with jax.default_matmul_precision("highest"):
        layer, head = (jnp.asarray(number) for number in node)
        (block, settings), positions = (
            model.select_layer(layer),
            _make_positions(model, prompts, rows, seen),
        )
        at = block.attention
        q, k, v = (
            at.project_queries(x[0][None], positions, settings, head),
            at.project_keys(x[1][None], positions, settings, head),
            at.project_values(x[2][None], head),
        )
        written = part = at.head_output(at.attend(q, k, v, positions, settings, head)[0], head)
        if fetched is not None:
            pattern = at.attention_pattern(q, k, positions, settings, head)
            is_key = jnp.arange(v.shape[-2]) == fetched[:, None]  # [batch, keys]
            pattern = jnp.where(is_key[:, None], pattern, 0)
            part = at.head_output(jnp.einsum("hbqk,hbke->hbqe", pattern, v)[0], head)
        return part if others is None else at.apply_post_norm(part, others + written)


@jax.jit
def run_other_heads(
    model: Transformer,
    prompts: Inputs,
    rows: Rows,
    node: tuple[Number, Number],
    x: Float[Array, "batch pos d"],
) -> Float[Array, "batch pos d"]:
    """What all heads of a layer but one write into the post-norm in a plain run."""
    with jax.default_matmul_precision("highest"):
        block, settings = model.select_layer(node[0])
        z = block.run(x, _make_positions(model, prompts, rows), settings).z
        return sum_other_heads(model, node, z)


@jax.jit
def sum_other_heads(
    model: Transformer, node: tuple[Number, Number], z: Float[Array, "heads batch pos d_head"]
) -> Float[Array, "batch pos d"]:
    """What all heads of a layer but one write into the post-norm, of what each has fetched."""
    with jax.default_matmul_precision("highest"):
        w_o = model.select_layer(node[0])[0].attention.w_o
        return jnp.einsum("hbpe,hde->bpd", z.at[node[1]].set(0.0), w_o)


@jax.jit
def run_contribution(
    model: Transformer, node: tuple[Number, Number], z: Float[Array, "heads batch pos d_head"]
) -> Float[Array, "batch pos d"]:
    """What one head adds to the stream, of what all heads of its layer have fetched."""
    with jax.default_matmul_precision("highest"):
        layer, head = (jnp.asarray(number) for number in node)
        attention = model.select_layer(layer)[0].attention
        written = attention.head_output(z[head], head)
        if attention.post_norm is None:
            return written
        return attention.apply_post_norm(written, jnp.einsum("hbpe,hde->bpd", z, attention.w_o))


@jax.jit
def run_pattern(
    model: Transformer,
    prompts: Inputs,
    rows: Rows,
    node: tuple[Number, Number],
    x: Float[Array, "batch pos d"],
) -> Float[Array, "batch queries keys"]:
    """Where one head attends."""
    with jax.default_matmul_precision("highest"):
        layer, head = (jnp.asarray(number) for number in node)
        (block, settings), positions = (
            model.select_layer(layer),
            _make_positions(model, prompts, rows),
        )
        q, k = (
            each(x[None], positions, settings, head)
            for each in (block.attention.project_queries, block.attention.project_keys)
        )
        return block.attention.attention_pattern(q, k, positions, settings, head)[0]


@partial(jax.jit, static_argnames="metrics")
def read_metrics(
    model: Transformer,
    prompts: tuple[Inputs, Targets],
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
        at, targets = prompts[0].score_at[rows], jax.tree.map(lambda a: a[rows], prompts[1])
        logits, full = (model.unembed(take_scored(stream, at)) for stream in (x, plain[rows]))
        targets = targets._replace(full_logits=full)
        values = [metric.measure(logits, targets).astype(jnp.float32) for metric in metrics]
        return jnp.stack(values), jnp.argmax(logits[:, 0], axis=-1).astype(jnp.int32)


@jax.jit
def take_values(
    values: Float[Array, "prompts pos d"], rows: Rows, at: Int[Array, "batch pos"]
) -> Float[Array, "batch pos d"]:
    """Values of those prompts at those positions."""
    return _take_positions(values, rows, at)


@jax.jit
def swap_values(
    x: Float[Array, "batch pos d"],
    values: Float[Array, "prompts pos d"],
    to: tuple[Rows, Int[Array, "batch pos"]],
    covers: Bool[Array, "batch pos"],
    now: Float[Array, "batch pos d"],
) -> Float[Array, "batch pos d"]:
    """``x`` with ``now`` in place of the values at ``to``, prompts and positions, where covered."""
    return x + jnp.where(covers[..., None], now - _take_positions(values, *to), 0.0)


@jax.jit
def replace_values(
    x: Float[Array, "batch pos d"],
    now: Float[Array, "batch pos d"],
    covers: Bool[Array, "batch pos"],
    values: Float[Array, "prompts pos d"],
    by: tuple[Int[Array, "batch pos"], Int[Array, "batch pos"]],
) -> Float[Array, "batch pos d"]:
    """``x``, which holds ``now``, with the values at ``by`` in its place, where covered."""
    return x + jnp.where(covers[..., None], values[by[0], by[1]] - now, 0.0)


def _take_positions(values: Array, rows: Rows, at: Array) -> Array:
    # [prompts, pos, d] at ([batch, 1], [batch, pos]): [batch, pos, d]
    return values[rows[:, None], at]


def _take_rows(prompts: Inputs, rows: Rows) -> Inputs:
    return jax.tree.map(lambda array: array[rows], prompts)


def _make_positions(
    model: Transformer, prompts: Inputs, rows: Rows, seen: Seen | None = None
) -> Positions:
    inputs = _take_rows(prompts, rows)
    return model.positions_of(inputs.tokens, inputs.mask, inputs.positions, seen)
