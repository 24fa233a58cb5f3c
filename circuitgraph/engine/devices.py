"""Several devices share the work by the placement of arrays alone: the compiler cuts the same
programs accordingly.

Candidates (masks) go over one axis of a grid of devices, prompts over the other; parameters are on
all of them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Float

from circuitgraph.engine.frontier.machine import Ground, Values
from circuitgraph.engine.masked.forward import Background, Inputs
from circuitgraph.models.positions import Place
from circuitgraph.tasks.metrics import Targets

Tree = TypeVar("Tree")

_PLACE = Place(0, 0, 1, 1, 1)  # pyright: ignore[reportArgumentType]
_BATCH_AXES: dict[type, Any] = {  # which axis of each array is the prompts'
    Inputs: Inputs(0, 0, 0, 0),  # pyright: ignore[reportArgumentType]
    Targets: Targets(0, 0, 0, 0, 0),  # pyright: ignore[reportArgumentType]
    Background: Background(1, 1, 1, 0),  # pyright: ignore[reportArgumentType]
    Values: Values(1, 1),  # pyright: ignore[reportArgumentType]
    Ground: Ground(Values(1, 1), 1, _PLACE, _PLACE, 0),  # pyright: ignore[reportArgumentType]
}


def prompt_ways(n_prompts: int, n_devices: int) -> int:
    """Into how many equal parts a chunk of prompts goes: the most that both numbers allow."""
    return math.gcd(n_prompts, n_devices)


@dataclass(frozen=True)
class Devices:
    """All devices, as a grid of ``candidates`` x ``prompts``.

    Attributes:
        mesh: None where there is one device, on which nothing has to be placed.
    """

    mesh: Mesh | None

    @classmethod
    def of(cls, n_prompts: int) -> Devices:
        """For chunks of that many prompts: they are shared out as far as they can be, candidates
        over what is left.
        """
        found = np.array(jax.devices())
        if len(found) == 1:
            return cls(None)
        return cls(
            Mesh(found.reshape(-1, prompt_ways(n_prompts, len(found))), ("candidates", "prompts"))
        )

    def everywhere(self, tree: Tree) -> Tree:
        """A whole copy of every array on each device."""
        if self.mesh is None:
            return tree
        return jax.tree.map(lambda x: self._put(x, PartitionSpec()) if eqx.is_array(x) else x, tree)

    def prompts(self, tree: Tree) -> Tree:
        """Arrays of a chunk shared out by prompts; those that are the same for all prompts are on
        every device.
        """

        def put(axis: int, x: Array | None) -> Array | None:
            if x is None or x.shape[axis] == 1:
                return x if x is None else self._put(x, PartitionSpec())
            return self._put(x, PartitionSpec(*[None] * axis, "prompts"))

        if self.mesh is None:
            return tree
        return jax.tree.map(put, _BATCH_AXES[type(tree)], tree)

    def candidates(
        self, rows: Float[np.ndarray, "groups lanes n"]
    ) -> Float[Array, "groups lanes n"]:
        """The lanes shared out; their number is a multiple of the grid's first axis."""
        return self._put(rows, PartitionSpec(None, "candidates"))

    def _put(self, x: Array | np.ndarray, spec: PartitionSpec) -> Array:
        return (
            jnp.asarray(x)
            if self.mesh is None
            else jax.device_put(x, NamedSharding(self.mesh, spec))
        )
