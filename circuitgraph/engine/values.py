"""A value of every writer: vectors of nodes, and numbers of units, each times a row of its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, Int

from circuitgraph.models.units import LayerUnits, Units


class Values(NamedTuple):
    """One value of every writer, or one number that stands for it; in the columns' order of `Grid`.

    Attributes:
        nodes: vectors of the embedding, the heads, the MLPs or what is left of them.
        units: what each unit's row is multiplied with; none in a graph of whole MLPs.
    """

    nodes: Float[Array, "nodes *axes d"]
    units: Float[Array, "units *axes"]

    @classmethod
    def of_nodes(cls, nodes: Float[Array, "nodes *axes d"]) -> Values:
        """Values of a graph of whole MLPs."""
        return cls(nodes, jnp.zeros((0, *nodes.shape[1:-1]), nodes.dtype))

    def map_arrays(self, function: Callable[[Array], Array]) -> Values:
        """Call a function with both arrays."""
        return Values(function(self.nodes), function(self.units))


def make_empty_units(
    units: Units | None, x: Float[Array, "*axes d"]
) -> Float[Array, "units *axes"]:
    """Zeros for all units, beside values like ``x``."""
    n_units = 0 if units is None else len(units.rows)
    return jnp.zeros((n_units, *x.shape[:-1]), x.dtype)


def subtract_values(first: Values, second: Values) -> Values:
    """``first - second``, of each writer."""
    return Values(first.nodes - second.nodes, first.units - second.units)


def sum_writers(
    weights: Float[Array, "sums writers"], values: Values, units: Units | None
) -> Float[Array, "sums *axes d"]:
    """Sums of all writers' values, each with weights of its own."""
    n_nodes = len(values.nodes)
    total = sum_vectors(weights[:, :n_nodes], values.nodes)
    if units is None:
        return total
    return total + sum_units(weights[:, n_nodes:], values.units, units.rows)


def sum_vectors(
    weights: Float[Array, "sums vectors"], vectors: Float[Array, "vectors *axes"]
) -> Float[Array, "sums *axes"]:
    """Sums of vectors, each with weights of its own.

    The compiler makes one plain matrix product of it, the fastest form. With the other axes made
    one here, vectors that are cut over devices would be brought together first.
    """
    return jnp.einsum("sv,v...->s...", weights, vectors)


def sum_units(
    weights: Float[Array, "sums units"],
    values: Float[Array, "units *axes"],
    rows: Float[Array, "units d"],
) -> Float[Array, "sums *axes d"]:
    """Sums of ``values times rows``, each with weights of its own, one sum after the other."""
    flat = values.reshape(len(values), -1).T  # [all axes, units]
    sums = jax.lax.map(lambda each: (flat * each) @ rows, weights)
    return sums.reshape(len(weights), *values.shape[1:], rows.shape[1])


def weigh_writers(
    gradients: Float[Array, "readers *axes d"], values: Values, units: Units | None
) -> Float[Array, "readers writers"]:
    """The inner product of each reader's gradient with each writer's value, over all other axes."""
    nodes = values.nodes.reshape(len(values.nodes), -1)
    products = gradients.reshape(len(gradients), -1) @ nodes.T
    if units is None:
        return products
    return jnp.concatenate([products, weigh_units(gradients, values.units, units.rows)], axis=1)


def weigh_units(
    gradients: Float[Array, "readers *axes d"],
    values: Float[Array, "units *axes"],
    rows: Float[Array, "units d"],
) -> Float[Array, "readers units"]:
    """The inner product of each gradient with ``value times row`` of each unit."""
    flat = values.reshape(len(values), -1)  # [units, all axes]

    def weigh_reader(gradient: Array) -> Array:
        along_rows = gradient.reshape(-1, gradient.shape[-1]) @ rows.T  # [all axes, units]
        return jnp.einsum("ku,uk->u", along_rows, flat)

    return jax.lax.map(weigh_reader, gradients)


def take_layer(values: Float[Array, "units *axes"], layer: LayerUnits) -> Array:
    """What a layer's units have of values, or of rows, of all units: [most, ...]; zero where it has
    no more.
    """
    return values.at[layer.slots].get(mode="fill", fill_value=0)


def put_layer(
    values: Float[Array, "units *axes"],
    slots: Int[Array, "*layers most"],
    new: Float[Array, "*layers_most *axes"],
) -> Float[Array, "units *axes"]:
    """``values`` with those of a layer's units (or of all layers') in their slots."""
    axes = values.shape[1:]
    return values.at[slots.reshape(-1)].set(new.reshape(-1, *axes), mode="drop")


def sum_all_layers(
    values: Float[Array, "units *axes"], units: Units
) -> Float[Array, "layers *axes d"]:
    """What the units of each layer write together."""

    def sum_layer(layer: LayerUnits) -> Array:
        return jnp.einsum("u...,ud->...d", take_layer(values, layer), take_layer(units.rows, layer))

    return jax.lax.map(sum_layer, units.layers)
