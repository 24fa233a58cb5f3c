"""The importance of nodes, and of all neurons of an MLP, from the gradient at what they write.

It is ``sum over prompts of |sum over pos, d of (replacement - value) * gradient|``.
"""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from circuitgraph.engine.ablation import Ablation
from circuitgraph.engine.attribution.gradients import Gradients, Held, visit_gradients
from circuitgraph.engine.batch import Batch
from circuitgraph.engine.grid import Grid, split_by_layer
from circuitgraph.engine.trace import trace_model
from circuitgraph.engine.values import Values, take_layer
from circuitgraph.models.mlp import MLP
from circuitgraph.models.transformer import Stream, Transformer
from circuitgraph.models.units import LayerUnits
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
    n_heads, units = model.spec.n_heads, model.units
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
        extra = (by_layer, model.layers_of_units)
        weighed = visit_gradients(model, start, held, batch, metric, n_heads, weigh, extra)[1]
    columns = jnp.concatenate([grid.heads, grid.mlps, grid.errors], axis=1)
    if units is not None:
        columns = jnp.concatenate([columns, len(differences.nodes) + units.layers.slots], axis=1)
    n_writers = grid.edge.shape[1]
    return jnp.zeros(n_writers, weighed.dtype).at[columns].set(weighed, mode="drop")


@eqx.filter_jit
def run_unit_importances(
    model: Transformer, start: Stream, held: Held, batch: Batch, metric: Metric, ablation: Ablation
) -> Float[Array, "layers d_mlp"]:
    """The importance of every neuron of every MLP; none has to be a node of the graph.

    Means of an ablation are taken over the batch's own prompts. Not defined with experts.
    """
    corrupted = batch.inputs if batch.corrupted is None else batch.corrupted
    n_heads = model.spec.n_heads

    def weigh(gradients: Gradients, extra: tuple[MLP, Stream, Stream]) -> Float[Array, " d_mlp"]:
        mlp, near, far = extra
        every = jnp.arange(mlp.w_in.shape[0])
        # [units, batch, pos] -> [batch, pos, units]
        value, other = (jnp.moveaxis(mlp.read_units(x, every), 0, -1) for x in (near, far))
        replaced = ablation.function(other[None], corrupted.mask)[0]
        along = gradients.mlp @ mlp.unit_rows(every).T
        return jnp.abs(((replaced - value) * along).sum(1)).sum(0)

    with jax.default_matmul_precision("highest"):
        near, far = (
            trace_model(model, inputs, ["mlp_input"]).mlp_input
            for inputs in (batch.inputs, corrupted)
        )
        extra = (model.blocks.mlp, near, far)
        return visit_gradients(model, start, held, batch, metric, n_heads, weigh, extra)[1]
