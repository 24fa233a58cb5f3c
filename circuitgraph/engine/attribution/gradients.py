"""Scores of all edges from gradients: the first-order estimate of what removing each edge adds to
the mean loss.

For writer u and reader v the score is ``sum over batch, pos, d of (replacement - value of u) *
(gradient at v's own
input)`` (Syed et al. 2023), from one forward and one backward pass. The backward pass goes layer by
layer and
contracts a layer's gradients at once, so that those of all readers are never in memory together.

These are the programs; `attribution` asks them about an experiment's prompts.
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
from jaxtyping import Bool, Float

from circuitgraph.engine.masked.forward import Background, Cells, Inputs, scored, writer_values
from circuitgraph.engine.masked.programs import Batch
from circuitgraph.models.attention import Attention
from circuitgraph.models.positions import Place, Settings
from circuitgraph.models.transformer import Block, Transformer
from circuitgraph.tasks.metrics import Metric, Targets

Stream = Float[Array, "batch pos d"]
Share = np.float32 | Float[Array, ""]


class Held(NamedTuple):
    """At most one group of writers is held at a value: all heads of a layer together, or its MLP.

    Attributes:
        heads, mlp: True for the layer whose heads, or MLP, are held.
        value: what the group writes.
    """

    heads: Bool[Array, " layers"]
    mlp: Bool[Array, " layers"]
    value: Stream


class Gradients(NamedTuple):
    """Gradients of the summed loss in one layer.

    Attributes:
        readers: at each reader's own input: q of all heads, then k, then v, then the MLP.
        heads, mlp: at what each head, and the MLP, writes.
    """

    readers: Float[Array, "readers batch pos d"]
    heads: Stream
    mlp: Stream


Visit = Callable[[Gradients, Any], Any]


def residuals(
    model: Transformer, start: Stream, where: Place, held: Held
) -> tuple[Float[Array, "layers batch pos d"], Stream]:
    """The stream before each layer and after the last one, when the embedding writes ``start``."""

    def layer(x: Stream, xs: Any) -> tuple[Stream, Stream]:
        (block, own), hold_heads, hold_mlp = xs
        after = x + _attention(block, x, where, own, hold_heads, held.value)
        if block.mlp is None:
            return after, x
        return after + jnp.where(
            hold_mlp, held.value, block.mlp(x if model.spec.parallel else after)
        ), x

    final, before = jax.lax.scan(layer, start, (model.layers(), held.heads, held.mlp))
    return before, final


def _attention(
    block: Block, x: Stream, where: Place, own: Settings, hold: Bool[Array, ""], value: Stream
) -> Stream:
    """What a layer's heads and its constant add to the stream, or the held value and the constant."""
    attention = block.attention
    written = attention.output(attention.mix(x[None], x[None], x[None], where, own))
    return jnp.where(hold, value + attention.constant, written)


def backward(
    model: Transformer,
    start: Stream,
    held: Held,
    chunk: Batch,
    metric: Metric,
    kv_heads: int,
    visit: Visit,
    extra: Any,
) -> tuple[Float[Array, "batch d"], Any]:
    """Visit the layers' gradients, last layer first.

    Args:
        kv_heads: how many k (and v) readers a layer has.
        visit: called once in each layer with its gradients and its slice of ``extra``.

    Returns:
        The gradient at the logits' input, at the scored positions, and what ``visit`` returned,
        layers stacked.
    """
    inputs, targets, _ = chunk
    where = model.place(inputs.tokens, inputs.mask, inputs.positions)
    before, final = residuals(model, start, where, held)
    top = jax.grad(partial(_summed_loss, model, targets, metric))(scored(final, inputs.score_at))

    def layer(above: Stream, xs: Any) -> tuple[Stream, Any]:
        (block, own), hold_heads, hold_mlp, x, own_extra = xs
        written, into_heads = _into_heads(block.attention, x, where, own, kv_heads)
        mlp, heads = jnp.zeros_like(x)[None], above
        if block.mlp is not None:
            after = x + jnp.where(hold_heads, held.value + block.attention.constant, written)
            _, into_mlp = jax.vjp(block.mlp, x if model.spec.parallel else after)
            mlp = into_mlp(jnp.where(hold_mlp, 0, above))[0][None]
            heads = above if model.spec.parallel else above + mlp[0]
        qkv = into_heads(jnp.where(hold_heads, 0, heads))
        below = heads + qkv.sum(0) + (mlp[0] if model.spec.parallel else 0)
        readers = qkv if block.mlp is None else jnp.concatenate([qkv, mlp])
        return below, visit(Gradients(readers, heads, above), own_extra)

    rows = jnp.arange(len(final))
    above = jnp.zeros_like(final).at[rows, inputs.score_at].set(top)
    _, seen = jax.lax.scan(
        layer, above, (model.layers(), held.heads, held.mlp, before, extra), reverse=True
    )
    return top, seen


def _into_heads(
    attention: Attention, x: Stream, where: Place, own: Settings, kv_heads: int
) -> tuple[Stream, Callable[[Stream], Float[Array, "readers batch pos d"]]]:
    """What the attention writes, and how a gradient there becomes those at its inputs: q of all
    heads, then k, then v.

    Each head gets a copy of the stream as its own input, so that the copies' gradients stay apart.
    """
    copies = (
        jnp.broadcast_to(x, (n, *x.shape)) for n in (attention.spec.n_heads, kv_heads, kv_heads)
    )
    written, into_copies = jax.vjp(
        lambda q, k, v: attention.output(attention.mix(q, k, v, where, own)), *copies
    )
    return written, lambda gradient: jnp.concatenate(into_copies(gradient))


def _summed_loss(
    model: Transformer, targets: Targets, metric: Metric, final: Float[Array, "batch d"]
) -> Array:
    return metric.loss(model.logits(final), targets).sum()


@eqx.filter_jit
def run_differences(
    model: Transformer, inputs: Inputs, background: Background
) -> Float[Array, "writers batch pos d"]:
    """Replacement minus clean value of every writer."""
    with jax.default_matmul_precision("highest"):
        return background.writers - writer_values(model, inputs)


@eqx.filter_jit
def run_start(model: Transformer, clean: Inputs, corrupted: Inputs, share: Share) -> Stream:
    """The embedding's value, ``share`` of the way from the corrupted prompts' to the clean ones'."""
    far, near = (model.embed(side.tokens, side.positions) for side in (corrupted, clean))
    part = jnp.asarray(share, far.dtype)
    return (1 - part) * far + part * near


@eqx.filter_jit
def run_group(
    group: Float[np.ndarray, " writers"] | Float[Array, " writers"],
    background: Background,
    differences: Float[Array, "writers batch pos d"],
    share: Share,
) -> Stream:
    """What a group of writers adds up to, ``share`` of the way from the replacements to the clean
    values.
    """
    with jax.default_matmul_precision("highest"):
        weights = jnp.asarray(group, differences.dtype)
        replaced = jnp.einsum("w,wbpd->bpd", weights, background.writers)
        moved = jnp.einsum("w,wbpd->bpd", weights, differences)
        return replaced - jnp.asarray(share, moved.dtype) * moved


@eqx.filter_jit
def run_scores(
    model: Transformer,
    start: Stream,
    held: Held,
    differences: Float[Array, "writers batch pos d"],
    cells: Cells,
    chunk: Batch,
    metric: Metric,
) -> Float[Array, "readers writers"]:
    """Scores summed over the prompts; cells that are no edges hold numbers without meaning."""
    flat = differences.reshape(len(differences), -1)

    def contracted(found: Gradients, _: None) -> Float[Array, "readers writers"]:
        each = found.readers.reshape(len(found.readers), -1)
        # in this order, which a CPU runs twice as fast as the other
        return jnp.einsum("wk,rk->wr", flat, each, preferred_element_type=jnp.float32).T

    with jax.default_matmul_precision("highest"):
        top, by_layer = backward(
            model, start, held, chunk, metric, cells.k.shape[1], contracted, None
        )
        into_logits = jnp.einsum("bd,wbd->w", top, scored(differences, chunk[0].score_at))
        rows = jnp.concatenate([cells.q, cells.k, cells.v, cells.mlp], axis=1)
        matrix = jnp.zeros(cells.edge.shape, by_layer.dtype).at[rows].set(by_layer)
        return matrix.at[-1].set(into_logits.astype(by_layer.dtype))


@eqx.filter_jit
def run_importances(
    model: Transformer,
    start: Stream,
    held: Held,
    differences: Float[Array, "writers batch pos d"],
    chunk: Batch,
    metric: Metric,
) -> Float[Array, "layers nodes"]:
    """``sum over prompts of |sum over pos, d of (replacement - value) * gradient|`` of each head
    and MLP.
    """
    n_heads = model.spec.n_heads
    by_layer = differences[1:].reshape(model.spec.n_layers, -1, *differences.shape[1:])

    def weighed(
        found: Gradients, moved: Float[Array, "nodes batch pos d"]
    ) -> Float[Array, " nodes"]:
        heads = jnp.einsum("wbpd,bpd->wb", moved[:n_heads], found.heads)
        mlp = jnp.einsum("wbpd,bpd->wb", moved[n_heads:], found.mlp)
        return jnp.abs(jnp.concatenate([heads, mlp])).sum(-1)

    with jax.default_matmul_precision("highest"):
        return backward(model, start, held, chunk, metric, n_heads, weighed, by_layer)[1]
