"""Weights cut over several devices, for a model larger than one of them.

Each matrix is cut along its axis of d_model, the only one that no program takes entries of by
number: heads, neurons, experts, tokens and layers are all chosen at run time, and a cut through
them would bring whole matrices together. The vectors that the engine keeps are cut by it as well.
What the compiler adds are sums over devices of what is small: norms, queries, keys, values, hidden
values and logits.
"""

from __future__ import annotations

from dataclasses import dataclass

import jax
import numpy as np
from jax import Array
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from circuitgraph.errors import ArgumentError
from circuitgraph.models.build import build_transformer, name_arrays
from circuitgraph.models.parameters import Parameter, list_parameters
from circuitgraph.models.transformer import Transformer

AXIS = "weights"
# matrices whose axis of d_model is not the last one
_OUTPUT_FIRST = ("attention.o.weight", "mlp.out.weight", "mlp.shared.out.weight")


@dataclass(frozen=True)
class WeightMemory:
    """Where the bytes of a model's weights are.

    Attributes:
        whole: all weights once.
        largest: what the device with most of them has.
        replicated: the part of ``largest`` that every device has.
    """

    whole: int
    largest: int
    replicated: int


def check_shards(n: int) -> None:
    """Raise `ArgumentError` unless weights can be cut over that many devices of this machine."""
    here = jax.devices()
    if len(here) == 1:
        raise ArgumentError(
            f"shard is {n}, but jax has one device here ({here[0].device_kind}): there is nothing "
            "to cut the weights over. Leave it out, or run where there are more."
        )
    if jax.process_count() > 1 and n != len(here):
        raise ArgumentError(
            f"shard is {n}, but the {jax.process_count()} processes have {len(here)} devices "
            "together, of which none may be idle: give that number."
        )
    if not 2 <= n <= len(here):
        raise ArgumentError(
            f"shard is {n}, but must be between 2 and {len(here)}, the number of devices that jax "
            "has here."
        )


def make_weight_mesh(n: int | None) -> Mesh | None:
    """The devices that weights are cut over; None where they are not cut.

    Raises:
        ArgumentError: there are not that many devices.
    """
    if n is None:
        return None
    check_shards(n)
    return Mesh(np.array(jax.devices()[:n]), (AXIS,))


def find_weight_mesh(transformer: Transformer) -> Mesh | None:
    """The devices that a transformer's weights are cut over; None where they are not cut."""
    sharding = transformer.embedding.sharding
    if isinstance(sharding, NamedSharding) and sharding.mesh.axis_names == (AXIS,):
        mesh = sharding.mesh
        return mesh if isinstance(mesh, Mesh) else None
    return None


def choose_cut(parameter: Parameter, n: int) -> PartitionSpec:
    """Along which axis a parameter is cut over ``n`` devices.

    Its axis of d_model, or if that does not divide, its largest axis that does; vectors are small,
    and whole on each device.
    """
    key, shape = parameter.key, parameter.shape
    if len(shape) < 2 or "norm" in key or not key.endswith(".weight"):
        return PartitionSpec()
    own = len(shape) - (2 if key in _OUTPUT_FIRST else 1)
    others = sorted(set(range(len(shape))) - {own}, key=lambda axis: -shape[axis])
    for axis in (own, *others):
        if shape[axis] % n == 0:
            return PartitionSpec(*[None] * (len(parameter.leading) + axis), AXIS)
    return PartitionSpec()


def place_parameter(parameter: Parameter, buffer: np.ndarray, mesh: Mesh | None) -> Array:
    """A parameter on its devices, of which each is given its own part and nothing else."""
    if mesh is None:
        return jax.device_put(buffer, jax.devices()[0])  # on a CPU the same memory
    sharding = NamedSharding(mesh, choose_cut(parameter, mesh.devices.size))
    return jax.make_array_from_callback(buffer.shape, sharding, lambda index: buffer[index])


def shard_transformer(transformer: Transformer, mesh: Mesh) -> Transformer:
    """The same transformer with its weights cut."""
    arrays = name_arrays(transformer)
    for parameter in list_parameters(transformer.spec):
        arrays[parameter.key] = place_parameter(parameter, np.asarray(arrays[parameter.key]), mesh)
    return build_transformer(transformer.spec, arrays)


def measure_weights(transformer: Transformer) -> WeightMemory:
    """The bytes of a model's weights, and of those that each device really has."""
    leaves = list({id(leaf): leaf for leaf in jax.tree.leaves(transformer)}.values())
    own: dict[int, int] = {}
    for leaf in leaves:
        for shard in leaf.addressable_shards:
            own[shard.device.id] = own.get(shard.device.id, 0) + shard.data.nbytes
    return WeightMemory(
        whole=sum(leaf.nbytes for leaf in leaves),
        largest=max(own.values()),
        replicated=sum(leaf.nbytes for leaf in leaves if leaf.sharding.is_fully_replicated),
    )


def fetch_whole(array: Array) -> np.ndarray:
    """All of an array, parts included that only other processes have."""
    if array.is_fully_addressable or array.is_fully_replicated:
        return np.asarray(array)
    return np.asarray(multihost_utils.process_allgather(array, tiled=True))


def count_cut_bytes(transformer: Transformer) -> int:
    """Bytes of weights on each device where they are cut, else 0."""
    return 0 if find_weight_mesh(transformer) is None else measure_weights(transformer).largest
