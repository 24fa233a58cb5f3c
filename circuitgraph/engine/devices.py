"""Several devices share the work by the placement of arrays alone.

The compiler cuts the same programs accordingly. Candidates (masks) go over one axis of a grid of
devices, prompts over the other; parameters are on all of them. Where parameters are cut instead,
all devices share each candidate and prompt.
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

from circuitgraph.models.sharding import AXIS, find_weight_mesh
from circuitgraph.models.transformer import Transformer


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
    """All devices, as a grid of ``candidates`` x ``prompts``; or those that weights are cut over.

    Attributes:
        mesh: None where there is one device, on which nothing has to be placed.
        width: d_model where weights are cut, else None.
    """

    mesh: Mesh | None
    width: int | None = None

    @classmethod
    def of(cls, model: Transformer, n_prompts: int) -> Devices:
        """The devices for chunks of that many prompts.

        Where each has all weights, prompts are shared out as far as they can be, candidates over
        what is left.
        """
        weight_mesh = find_weight_mesh(model)
        if weight_mesh is not None:
            return cls(weight_mesh, model.spec.d_model)
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
        """A whole copy of every array on each device; what is cut stays so."""
        if self.mesh is None:
            return tree
        return jax.tree.map(lambda x: self._copy_array(x) if eqx.is_array(x) else x, tree)

    def share_prompts(self, batch: Batched) -> Batched:
        """A batch shared out by prompts; what is the same for all prompts is on every device.

        Where weights are cut, vectors of d_model are cut like them.
        """

        def put(axis: int, x: Array) -> Array:
            if self.width is not None:
                return self._place_array(x, self._cut_vectors(x))
            # an axis of one is a value that all prompts share, as a mean ablation's
            if x.shape[axis] == 1:
                return self._place_array(x, PartitionSpec())
            return self._place_array(x, PartitionSpec(*[None] * axis, "prompts"))

        return batch if self.mesh is None else batch.map_prompts(put)

    def share_candidates(
        self, rows: Float[np.ndarray, "groups lanes n"]
    ) -> Float[Array, "groups lanes n"]:
        """The lanes shared out; their number is a multiple of the grid's first axis."""
        spec = PartitionSpec(None, "candidates") if self.width is None else PartitionSpec()
        return self._place_array(rows, spec)

    def _cut_vectors(self, x: Array) -> PartitionSpec:
        assert self.mesh is not None  # noqa: S101 - there is a mesh where there is a width
        width = x.shape[-1]
        if x.ndim < 3 or width != self.width or width % self.mesh.devices.size:
            return PartitionSpec()
        return PartitionSpec(*[None] * (x.ndim - 1), AXIS)

    def _copy_array(self, x: Array) -> Array:
        if self.width is not None and isinstance(x.sharding, NamedSharding):
            return x
        return self._place_array(x, PartitionSpec())

    def _place_array(self, x: Array | np.ndarray, spec: PartitionSpec) -> Array:
        # jnp.asarray would compile a program for each shape
        return jax.device_put(x, None if self.mesh is None else NamedSharding(self.mesh, spec))
