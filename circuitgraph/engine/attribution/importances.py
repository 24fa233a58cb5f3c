"""The importance of nodes, and of all units of MLPs, from the gradient at what they write.

It is ``sum over prompts of |sum over pos, d of (replacement - value) * gradient|``.
"""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, Int

from circuitgraph.engine.ablation import Ablation
from circuitgraph.engine.attribution.gradients import Gradients, Held, visit_gradients
from circuitgraph.engine.batch import Batch, Inputs
from circuitgraph.engine.grid import Grid, split_by_layer
from circuitgraph.engine.trace import trace_model
from circuitgraph.engine.values import Values, take_layer
from circuitgraph.models.mlp import MLP
from circuitgraph.models.split_mlp import read_mlp_place
from circuitgraph.models.transformer import Stream, Transformer
from circuitgraph.models.units import Features, LayerUnits
from circuitgraph.tasks.metrics import Metric


@eqx.filter_jit
def run_importances(
    model: Transformer,
    start: Stream,
    held: Held,
    differences: Values,
    grid: Grid,
    batch: Batch,
    metric: Metric,
) -> Float[Array, " writers"]:
    """The importance of each writer, in the columns' order of the grid; zero for the embedding."""
    n_heads, units = model.n_head_slots, model.units
    _, by_layer = split_by_layer(differences.nodes, model.spec.n_layers)

    def weigh_units(own: LayerUnits, written: Stream) -> Float[Array, " most"]:
        assert units is not None  # noqa: S101 - layers have units where the model has
        along = written @ take_layer(units.rows, own).T  # [batch, pos, most]
        values = take_layer(differences.units, own)
        return jnp.abs(jnp.einsum("ubp,bpu->ub", values, along)).sum(-1)

    def weigh(
        gradients: Gradients, extra: tuple[Float[Array, "nodes batch pos d"], LayerUnits | None]
    ) -> Float[Array, " slots"]:
        moved, own = extra
        heads = jnp.einsum("wbpd,bpd->wb", moved[:n_heads], gradients.heads)
        mlp = jnp.einsum("wbpd,bpd->wb", moved[n_heads:], gradients.mlp)
        nodes = jnp.abs(jnp.concatenate([heads, mlp])).sum(-1)
        return nodes if own is None else jnp.append(nodes, weigh_units(own, gradients.mlp))

    with jax.default_matmul_precision("highest"):
        extra, n_kv = (by_layer, model.layers_of_units), model.spec.n_heads
        weighed = visit_gradients(model, start, held, batch, metric, n_kv, weigh, extra)[1]
    columns = jnp.concatenate([grid.heads, grid.sources, grid.mlps, grid.errors], axis=1)
    if units is not None:
        columns = jnp.concatenate([columns, len(differences.nodes) + units.layers.slots], axis=1)
    n_writers = grid.edge.shape[1]
    return jnp.zeros(n_writers, weighed.dtype).at[columns].set(weighed, mode="drop")


@eqx.filter_jit
def run_neuron_importances(
    model: Transformer, start: Stream, held: Held, batch: Batch, metric: Metric, ablation: Ablation
) -> Float[Array, "layers d_mlp"]:
    """The importance of every neuron of every MLP; none has to be a node of the graph.

    Means of an ablation are taken over the batch's own prompts. Not defined with experts.
    """
    corrupted = batch.inputs if batch.corrupted is None else batch.corrupted

    def weigh(gradients: Gradients, extra: tuple[MLP, Stream, Stream]) -> Float[Array, " d_mlp"]:
        mlp, *sides = extra
        every = jnp.arange(mlp.w_in.shape[0])
        # [units, batch, pos] -> [batch, pos, units]
        value, other = (jnp.moveaxis(mlp.read_units(x, every), 0, -1) for x in sides)
        replaced = ablation.function(other[None], corrupted.mask)[0]
        return _weigh_moves(replaced - value, gradients.mlp, mlp.unit_rows(every))

    with jax.default_matmul_precision("highest"):
        extra = (model.blocks.mlp, *_read_mlp_inputs(model, batch.inputs, corrupted))
        n_heads = model.spec.n_heads
        return visit_gradients(model, start, held, batch, metric, n_heads, weigh, extra)[1]


@eqx.filter_jit
def run_feature_importances(
    features: Features,
    numbers: Int[Array, " layers"],
    model: Transformer,
    start: Stream,
    held: Held,
    batch: Batch,
    metric: Metric,
    ablation: Ablation,
) -> Float[Array, "layers features"]:
    """The importance of every feature, as `run_neuron_importances`; zero in other layers.

    Args:
        numbers: as `LayerUnits.dictionary` of all layers.
    """
    corrupted = batch.inputs if batch.corrupted is None else batch.corrupted
    nothing = jnp.zeros(features.others.shape[1], model.embedding.dtype)

    def weigh(
        gradients: Gradients, extra: tuple[MLP, Int[Array, ""], Stream, Stream]
    ) -> Float[Array, " features"]:
        mlp, number, *sides = extra

        def weigh_dictionary() -> Array:
            dictionary = features.select(number)
            read = (read_mlp_place(mlp, features.reads, x) for x in sides)
            value, other = (dictionary.encode(x) for x in read)
            replaced = ablation.function(other[None], corrupted.mask)[0]
            rows = dictionary.decoder_rows()[0]
            return _weigh_moves(replaced - value, gradients.mlp, rows).astype(nothing.dtype)

        return jax.lax.cond(number >= 0, weigh_dictionary, lambda: nothing)

    with jax.default_matmul_precision("highest"):
        extra = (model.blocks.mlp, numbers, *_read_mlp_inputs(model, batch.inputs, corrupted))
        n_heads = model.spec.n_heads
        return visit_gradients(model, start, held, batch, metric, n_heads, weigh, extra)[1]


def _weigh_moves(
    moved: Float[Array, "batch pos units"], gradient: Stream, rows: Float[Array, "units d"]
) -> Float[Array, " units"]:
    """Units' importances from their differences and the gradient at what their MLP writes."""
    return jnp.abs((moved * (gradient @ rows.T)).sum(1)).sum(0)


def _read_mlp_inputs(
    model: Transformer, *sides: Inputs
) -> list[Float[Array, "layers batch pos d"]]:
    """What each MLP reads in a run of each side of the prompts."""
    inputs = [trace_model(model, side, ["mlp_input"]).mlp_input for side in sides]
    return [x for x in inputs if x is not None]
