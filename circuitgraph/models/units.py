"""Units: hidden neurons that are nodes of their own, each writing a number times a row."""

from __future__ import annotations

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, Int

from circuitgraph.errors import ArgumentError
from circuitgraph.graph.graph import Graph
from circuitgraph.models.mlp import MLP


class LayerUnits(NamedTuple):
    """The units of one layer, or of all layers stacked, all filled up to as many as the most have.

    Attributes:
        slots: their numbers among all units, in the graph's order; the number of all units where a
            layer has no more.
        neurons: their numbers in the MLP; 0 where a layer has no more.
        others: 0 for neurons that are units, 1 for those that the rest of the MLP writes.
    """

    slots: Int[Array, "*layers most"]
    neurons: Int[Array, "*layers most"]
    others: Float[Array, "*layers d_mlp"]


class Units(eqx.Module):
    """All units of a model: memory follows units times tokens, not the width of the stream.

    Attributes:
        rows: what each unit adds to the stream for each 1 of its value.
        layers: which units are whose, layers stacked.
    """

    rows: Float[Array, "units d"]
    layers: LayerUnits


def make_units(mlps: MLP | None, graph: Graph) -> Units | None:
    """The units of a graph's split MLPs; None if all are whole.

    Args:
        mlps: the model's MLPs, layers stacked.

    Raises:
        ArgumentError: neurons that the MLPs do not have, or cannot be told apart.
    """
    if not graph.splits:
        return None
    check_splits(mlps, graph)
    assert mlps is not None  # noqa: S101 - checked just now
    dtype, d_mlp = mlps.w_in.dtype, mlps.w_in.shape[1]
    total, most = (f(len(s.indices) for s in graph.splits) for f in (sum, max))
    slots = np.full((graph.n_layers, most), total, np.int32)
    neurons = np.zeros((graph.n_layers, most), np.int32)
    others, rows, start = np.ones((graph.n_layers, d_mlp)), [], 0
    for split in graph.splits:
        n, chosen = len(split.indices), np.array(split.indices)
        slots[split.layer, :n] = np.arange(start, start + n)
        neurons[split.layer, :n] = chosen
        others[split.layer, chosen] = 0
        rows.append(select_layer(mlps, split.layer).unit_rows(jnp.asarray(chosen)))
        start += n
    layers = LayerUnits(jnp.asarray(slots), jnp.asarray(neurons), jnp.asarray(others, dtype))
    return Units(jnp.concatenate(rows), layers)


def check_splits(mlps: MLP | None, graph: Graph) -> None:
    """Raise `ArgumentError` unless a model's MLPs can be split as a graph says."""
    for split in graph.splits:
        name = f"m{split.layer}"
        if split.kind == "feature":
            raise ArgumentError(
                f"{name} is split into features, but no dictionary is loaded with this model: "
                "split it into neurons."
            )
        if mlps is None or mlps.router is not None:
            raise ArgumentError(
                f"{name} cannot be split into neurons: a mixture of experts has a neuron once for "
                "each expert. Leave it whole."
            )
        if max(split.indices) >= mlps.w_in.shape[1]:
            raise ArgumentError(
                f"{name}.n{max(split.indices)} is no neuron of this model, whose MLPs have "
                f"{mlps.w_in.shape[1]:,}, 0 to {mlps.w_in.shape[1] - 1}."
            )


def select_layer(mlps: MLP, layer: int) -> MLP:
    """One layer's MLP, of all layers stacked."""
    return jax.tree.map(lambda stacked: stacked[layer], mlps)
