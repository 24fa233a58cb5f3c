"""Several devices share the work by the placement of arrays alone.

The compiler cuts the same programs accordingly. Candidates (masks) go over one axis of a grid of
devices, prompts over the other; parameters are on all of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar, runtime_checkable

import equinox as eqx
import jax
import numpy as np
from jax import Array
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Float


@runtime_checkable
class HasPrompts(Protocol):
    """Arrays on the device that say which of their axes are prompts."""

    def map_prompts(self, function: Callable[[int, Array], Array]) -> Any:
        """Call a function with each array and the number of its axis of prompts."""
        ...


Batched = TypeVar("Batched", bound=HasPrompts)
Tree = TypeVar("Tree")


def count_prompt_parts(n_prompts: int, n_devices: int) -> int:
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
        """The grid for chunks of that many prompts.

        Prompts are shared out as far as they can be, candidates over what is left.
        """
        devices = np.array(jax.devices())
        if len(devices) == 1:
            return cls(None)
        return cls(
            Mesh(
                devices.reshape(-1, count_prompt_parts(n_prompts, len(devices))),
                ("candidates", "prompts"),
            )
        )

    def copy_everywhere(self, tree: Tree) -> Tree:
        """A whole copy of every array on each device."""
        if self.mesh is None:
            return tree
        return jax.tree.map(
            lambda x: self._place_array(x, PartitionSpec()) if eqx.is_array(x) else x, tree
        )

    def share_prompts(self, batch: Batched) -> Batched:
        """A batch shared out by prompts; what is the same for all prompts is on every device."""

        def put(axis: int, x: Array) -> Array:
            # an axis of one is a value that all prompts share, as a mean ablation's
            if x.shape[axis] == 1:
                return self._place_array(x, PartitionSpec())
            return self._place_array(x, PartitionSpec(*[None] * axis, "prompts"))

        return batch if self.mesh is None else batch.map_prompts(put)

    def share_candidates(
        self, rows: Float[np.ndarray, "groups lanes n"]
    ) -> Float[Array, "groups lanes n"]:
        """The lanes shared out; their number is a multiple of the grid's first axis."""
        return self._place_array(rows, PartitionSpec(None, "candidates"))

    def _place_array(self, x: Array | np.ndarray, spec: PartitionSpec) -> Array:
        # jnp.asarray would compile a program for each shape
        return jax.device_put(x, None if self.mesh is None else NamedSharding(self.mesh, spec))
