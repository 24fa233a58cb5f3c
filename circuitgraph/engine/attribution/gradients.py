"""Scores of all edges from gradients, to first order: the programs that `Attribution` runs.

A score estimates what removing the edge adds to the mean loss. For writer u and reader v it is
``sum over batch, pos, d of (replacement - value of u) * (gradient at v's own input)`` (Syed et al.
2023), from one forward and one backward pass. The backward pass goes layer by layer and contracts a
layer's gradients at once, so that the gradients of all readers are never in memory together.
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
from jaxtyping import Bool, Float, Int

from circuitgraph.engine.ablation import Background
from circuitgraph.engine.batch import Batch, Inputs, take_scored, take_scored_values
from circuitgraph.engine.grid import Grid
from circuitgraph.engine.masked.forward import compute_writer_values
from circuitgraph.engine.trace import trace_model
from circuitgraph.engine.values import Values, subtract_values, sum_writers, weigh_units
from circuitgraph.models.attention import Attention
from circuitgraph.models.positions import LayerSettings, Positions
from circuitgraph.models.split_mlp import SplitMlp
from circuitgraph.models.transformer import Block, Stream, Transformer
from circuitgraph.models.units import LayerUnits, Units
from circuitgraph.tasks.metrics import Metric, Targets

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
        of_unit: at the input of its own that one of the layer's units has, given its place in the
            layer's units; None in a graph without such inputs.
    """

    readers: Float[Array, "readers batch pos d"]
    heads: Stream
    mlp: Stream
    of_unit: Callable[[Int[Array, ""]], Stream] | None = None


Visit = Callable[[Gradients, Any], Any]


def run_held(
    model: Transformer, inputs: Inputs, start: Stream, held: Held
) -> tuple[Float[Array, "layers batch pos d"], Stream]:
    """The stream before each layer and after the last one, when the embedding writes ``start``."""

    def hold(layer: tuple[Array, Array, Array], name: str, value: Array) -> Array:
        hold_heads, hold_mlp, constant = layer
        if name == "attention":
            return jnp.where(hold_heads, held.value + constant, value)
        return jnp.where(hold_mlp, held.value, value) if name == "mlp" else value

    layers = (held.heads, held.mlp, model.blocks.attention.constant)
    trace = trace_model(model, inputs, ["stream"], start=start, edit=hold, layer_data=layers)
    assert trace.stream is not None  # noqa: S101 - it was to be kept
    return trace.stream, trace.final


def visit_gradients(
    model: Transformer,
    start: Stream,
    held: Held,
    batch: Batch,
    metric: Metric,
    kv_heads: int,
    visit: Visit,
    extra: Any,
) -> tuple[Float[Array, "batch scored d"], Any]:
    """Visit the layers' gradients, last layer first.

    Args:
        kv_heads: how many k (and v) readers a layer has.
        visit: called once in each layer with its gradients and its slice of ``extra``.

    Returns:
        The gradient at the logits' input, at the scored positions, and what ``visit`` returned,
        layers stacked.
    """
    inputs = batch.inputs
    positions = model.positions_of(inputs.tokens, inputs.mask, inputs.positions)
    before, final = run_held(model, inputs, start, held)
    sum_losses = partial(_sum_losses, model, batch.targets, metric)
    top = jax.grad(sum_losses)(take_scored(final, inputs.score_at))

    def visit_layer(above: Stream, layer: Any) -> tuple[Stream, Any]:
        (block, settings), own, hold_heads, hold_mlp, x, own_extra = layer
        written, into_heads = _pull_back_heads(block.attention, x, positions, settings, kv_heads)
        mlp, heads, past_heads, of_unit = jnp.zeros_like(x)[None], above, 0, None
        if block.mlp is not None:
            after = x + jnp.where(hold_heads, held.value + block.attention.constant, written)
            _, into_mlp = jax.vjp(_run_mlp_on(model, block, own), x, after)
            # the MLP reads the stream before the attention or after it: one of the two is zero
            d_written = jnp.where(hold_mlp, 0, above)
            past_heads, through_heads = into_mlp(d_written)
            mlp, heads = (past_heads + through_heads)[None], above + through_heads
            if own is not None and model.units is not None and model.units.own_inputs:
                split, read = model.split_mlp(block.mlp, own), block.mlp_input(x, after)
                mlp = _pull_back_rest(split, read, d_written)[None]
                of_unit = partial(_pull_back_unit, split, model.units, read, d_written)
        qkv = into_heads(jnp.where(hold_heads, 0, heads))
        readers = qkv if block.mlp is None else jnp.concatenate([qkv, mlp])
        below = heads + qkv.sum(0) + past_heads
        return below, visit(Gradients(readers, heads, above, of_unit), own_extra)

    # the logits read the scored positions alone: [batch, scored, d] into [batch, pos, d]
    rows = jnp.arange(len(final))[:, None]
    above = jnp.zeros_like(final).at[rows, inputs.score_at].add(top)
    own = (model.layers_of_units, held.heads, held.mlp, before, extra)
    layers = (model.stacked_layers(), *own)
    _, results = jax.lax.scan(visit_layer, above, layers, reverse=True)
    return top, results


def _run_mlp_on(
    model: Transformer, block: Block, own: LayerUnits | None
) -> Callable[[Stream, Stream], Stream]:
    """What the MLP adds, but a frozen error, as a function of the stream before the attention and
    after it.
    """
    assert block.mlp is not None  # noqa: S101 - called where there is one
    run = block.mlp
    if own is not None and model.units is not None and model.units.freezes:
        run = model.split_mlp(block.mlp, own).write_fed
    return lambda x, after_attention: run(block.mlp_input(x, after_attention))


def _pull_back_rest(split: SplitMlp, read: Stream, d_written: Stream) -> Stream:
    """The gradient at what the rest of an MLP reads, from that at what the MLP writes."""
    written, pull = jax.vjp(lambda x: split.write_parts(x)[0], read)
    by_part = jnp.broadcast_to(d_written, written.shape)
    if len(written) > 1:
        by_part = by_part.at[1].multiply(1 - split.own.frozen)
    return pull(by_part)[0]


def _pull_back_unit(
    split: SplitMlp, units: Units, read: Stream, d_written: Stream, place: Int[Array, ""]
) -> Stream:
    """The gradient at what one of a layer's units reads, from that at what its MLP writes."""
    row = units.rows.at[split.own.slots[place]].get(mode="fill", fill_value=0)
    index = split.own.indices[place]
    return jax.vjp(lambda x: split.read_unit(x, index), read)[1](d_written @ row)[0]


def _pull_back_heads(
    attention: Attention, x: Stream, positions: Positions, settings: LayerSettings, kv_heads: int
) -> tuple[Stream, Callable[[Stream], Float[Array, "readers batch pos d"]]]:
    """What the attention writes, and the function from a gradient there to gradients at its inputs.

    The inputs are q of all heads, then k, then v. Each head gets a copy of the stream as its own
    input, so that the gradients at the copies stay apart.
    """
    copies = (
        jnp.broadcast_to(x, (n, *x.shape)) for n in (attention.spec.n_heads, kv_heads, kv_heads)
    )
    written, into_copies = jax.vjp(
        lambda q, k, v: attention.combine_heads(attention.compute_z(q, k, v, positions, settings)),
        *copies,
    )
    return written, lambda gradient: jnp.concatenate(into_copies(gradient))


def _sum_losses(
    model: Transformer, targets: Targets, metric: Metric, final: Float[Array, "batch scored d"]
) -> Array:
    return metric.loss(model.unembed(final), targets).sum()


@eqx.filter_jit
def run_differences(model: Transformer, inputs: Inputs, background: Background) -> Values:
    """Replacement minus clean value of every writer."""
    with jax.default_matmul_precision("highest"):
        return subtract_values(background.writers, compute_writer_values(model, inputs))


@eqx.filter_jit
def run_start(model: Transformer, clean: Inputs, corrupted: Inputs, share: Share) -> Stream:
    """The embedding's value, ``share`` of the way from the corrupted to the clean prompts."""
    far, near = (model.embed(side.tokens, side.positions) for side in (corrupted, clean))
    part = jnp.asarray(share, far.dtype)
    return (1 - part) * far + part * near


@eqx.filter_jit
def run_group(
    model: Transformer,
    group: Float[np.ndarray, " writers"] | Float[Array, " writers"],
    background: Background,
    differences: Values,
    share: Share,
) -> Stream:
    """The sum of a group of writers, ``share`` of the way from replacement to clean value.

    Args:
        group: 1 for the columns of its members.
    """
    with jax.default_matmul_precision("highest"):
        weights = jnp.asarray(group, differences.nodes.dtype)[None]
        replaced, moved = (
            sum_writers(weights, values, model.units)[0]
            for values in (background.writers, differences)
        )
        return replaced - jnp.asarray(share, moved.dtype) * moved


@eqx.filter_jit
def run_scores(
    model: Transformer,
    start: Stream,
    held: Held,
    differences: Values,
    grid: Grid,
    batch: Batch,
    metric: Metric,
) -> Float[Array, "readers writers"]:
    """Scores summed over the prompts; cells that are no edges hold numbers without meaning."""
    nodes, units = differences.nodes, model.units
    flat = nodes.reshape(len(nodes), -1)  # [nodes, batch pos d]

    def contract(gradients: Gradients, _: None) -> Float[Array, "readers writers"]:
        rows = weigh_readers(gradients.readers)
        of_unit = gradients.of_unit
        if of_unit is None or units is None:
            return rows
        # one unit after the other: together they would take the memory of as many nodes
        places = jnp.arange(units.layers.slots.shape[1])
        own = jax.lax.map(lambda place: weigh_readers(of_unit(place)[None])[0], places)
        return jnp.concatenate([rows, own])

    def weigh_readers(
        gradients: Float[Array, "readers batch pos d"],
    ) -> Float[Array, "readers writers"]:
        each = gradients.reshape(len(gradients), -1)
        # in this order, which a CPU runs twice as fast as the other
        scores = jnp.einsum("wk,rk->wr", flat, each, preferred_element_type=jnp.float32).T
        if units is None:
            return scores
        of_units = weigh_units(gradients, differences.units, units.rows)
        return jnp.concatenate([scores, of_units.astype(jnp.float32)], axis=1)

    with jax.default_matmul_precision("highest"):
        top, by_layer = visit_gradients(
            model, start, held, batch, metric, grid.k.shape[1], contract, None
        )
        scored = take_scored_values(differences, batch.inputs.score_at)
        into_logits = jnp.einsum("bsd,wbsd->w", top, scored.nodes)
        if units is not None:
            of_units = weigh_units(top[None], scored.units, units.rows)[0]
            into_logits = jnp.concatenate([into_logits, of_units])
        rows = jnp.concatenate([grid.q, grid.k, grid.v, grid.mlp], axis=1)
        # [layers, readers of a layer, writers] into [readers, writers]; the logits come last
        matrix = jnp.zeros(grid.edge.shape, by_layer.dtype)
        matrix = matrix.at[rows].set(by_layer[:, : rows.shape[1]])
        if units is not None and units.own_inputs:
            # added: units that share an input are one reader's, with the rest of their MLP
            each = jnp.asarray(grid.units).at[units.layers.slots]
            of_slots = each.get(mode="fill", fill_value=len(matrix))
            matrix = matrix.at[of_slots].add(by_layer[:, rows.shape[1] :], mode="drop")
        return matrix.at[-1].set(into_logits.astype(by_layer.dtype))
