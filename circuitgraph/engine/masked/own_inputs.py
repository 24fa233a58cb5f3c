"""Units with inputs of their own under a mask: what each one is worth, and its derivative.

Each unit's input is a vector, but only `OWN_INPUTS_AT_ONCE` of them are alive at a time. A Gram
matrix of the writers would give the divisor of a norm without any such vector, but not for less: a
mask changes what all writers write, and then their projections on a unit's row cost as much as the
sum of the writers does.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from circuitgraph.engine.tuning import OWN_INPUTS_AT_ONCE
from circuitgraph.engine.values import Values, sum_writers
from circuitgraph.models.split_mlp import SplitMlp
from circuitgraph.models.units import Units


def read_own_units(
    split: SplitMlp,
    weights: Float[Array, "most writers"],
    base: Float[Array, "one_or_batch one_or_pos d"],
    moved: Values,
    units: Units,
) -> Float[Array, "most batch pos"]:
    """The values of a layer's units, each of ``base`` and of the writers with weights of its own.

    Args:
        weights: zero where the layer has no more units.
        units: all units of the model.
    """

    def read_unit(unit: tuple[Array, Array]) -> Float[Array, "batch pos"]:
        index, own = unit
        return split.read_unit(base + sum_writers(own[None], moved, units)[0], index)

    def read_all() -> Float[Array, "most batch pos"]:
        each = (split.own.indices, weights)
        return jax.lax.map(read_unit, each, batch_size=OWN_INPUTS_AT_ONCE)

    shape = (len(weights), *moved.nodes.shape[1:-1])
    has_units = split.own.slots[0] < len(units.rows)
    return jax.lax.cond(has_units, read_all, lambda: jnp.zeros(shape, moved.nodes.dtype))


def pull_own_units(
    split: SplitMlp,
    weights: Float[Array, "most writers"],
    base: Float[Array, "one_or_batch one_or_pos d"],
    moved: Values,
    units: Units,
    d_units: Float[Array, "most batch pos"],
) -> Float[Array, "most batch pos d"]:
    """The derivative by the input of each unit, from that by its value.

    Args:
        weights, base, moved, units: as of `read_own_units`.
    """

    def pull_unit(unit: tuple[Array, Array, Array]) -> Float[Array, "batch pos d"]:
        index, own, d_unit = unit
        x = base + sum_writers(own[None], moved, units)[0]
        return jax.vjp(lambda x: split.read_unit(x, index), x)[1](d_unit)[0]

    return jax.lax.map(
        pull_unit, (split.own.indices, weights, d_units), batch_size=OWN_INPUTS_AT_ONCE
    )
