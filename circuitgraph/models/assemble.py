"""From a checkpoint's tensors to the transformer, by the names that a family gives them.

Each parameter is one array with all layers in it, filled tensor by tensor, so that memory holds the
model once and one tensor more.
"""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING

import jax
import ml_dtypes
import numpy as np
from jax.sharding import Mesh

from circuitgraph.errors import ArgumentError, ModelError, list_problems, unknown_name
from circuitgraph.models.build import build_transformer
from circuitgraph.models.checkpoint import Checkpoint
from circuitgraph.models.checkpoint_source import DTYPES, CheckpointSource, TensorSlot
from circuitgraph.models.parameters import (
    Parameter,
    Shape,
    list_parameters,
)
from circuitgraph.models.sharding import place_parameter
from circuitgraph.models.sizes import check_slots
from circuitgraph.models.spec import Spec
from circuitgraph.models.transformer import Transformer

if TYPE_CHECKING:
    from circuitgraph.models.families import Family

_ALIGNMENT = 64  # bytes
_THREADS = 2  # more threads only wait for the same memory


def check_dtype(dtype: str) -> None:
    """Refuse a precision that does not exist, or that jax has not been told to have."""
    if dtype not in DTYPES:
        raise unknown_name("dtype", dtype, DTYPES)
    if dtype == "float64" and not jax.config.jax_enable_x64:  # pyright: ignore[reportAttributeAccessIssue]
        raise ArgumentError(
            "float64 needs jax's 64-bit mode: set JAX_ENABLE_X64=1, or "
            "jax.config.update('jax_enable_x64', True), before anything is computed."
        )


def assemble_transformer(
    spec: Spec,
    family: Family,
    checkpoint: Checkpoint,
    dtype: str,
    weight_mesh: Mesh | None = None,
) -> Transformer:
    """The transformer with the checkpoint's weights in it.

    Args:
        weight_mesh: devices that each weight is cut over; by default one device has them.

    Raises:
        ModelError: tensors are missing, left over, of a wrong shape or not finite; all are listed.
    """
    source = CheckpointSource.from_checkpoint(family, checkpoint).share_unembedding(spec)
    spec = source.untie_if_stored(spec)
    parameters = list_parameters(spec)
    by_head = {p for p in parameters if "{h}" in str(family.stored_as(p.key))}
    check_slots(checkpoint.name, parameters, by_head, len(checkpoint.shapes))
    slots_of = {parameter: list(source.list_slots(parameter, spec)) for parameter in parameters}
    all_slots = [slot for slots in slots_of.values() for slot in slots]
    _refuse_problems(checkpoint, source.find_problems(all_slots, spec))
    arrays: dict[str, jax.Array] = {}
    shared: dict[tuple[str, ...], jax.Array] = {}  # one norm may serve two sublayers
    problems, mlps_are_zero = [], True
    for parameter, slots in slots_of.items():
        sources = (parameter.key.split(".")[-2], *(slot.tensor for slot in slots))
        if sources not in shared:
            buffer, not_finite = _fill_parameter(parameter, slots, source, dtype)
            problems += [f"not finite: {source.stored[name]}" for name in not_finite]
            # tested layer by layer: the first one decides
            if parameter.key.startswith(("mlp.out", "mlp.shared.out")):
                mlps_are_zero = mlps_are_zero and not any(layer.any() for layer in buffer)
            shared[sources] = place_parameter(parameter, buffer, weight_mesh)
        arrays[parameter.key] = shared[sources]
    _refuse_problems(checkpoint, problems)
    return build_transformer(drop_silent_mlps(spec) if mlps_are_zero else spec, arrays)


def drop_silent_mlps(spec: Spec) -> Spec:
    """The spec of the attention-only model, for a checkpoint whose MLPs all write zeros.

    Attention-only models are stored with MLPs of zeros in families that always have MLPs. These
    MLPs could never write, so a graph with them would have edges that no search can tell from
    absent ones. Behind a post-norm the MLPs stay: its bias may write where the MLP does not.
    """
    return replace(spec, d_mlp=None) if spec.post_norm is None else spec


def _refuse_problems(checkpoint: Checkpoint, problems: list[str]) -> None:
    if problems:
        title = (
            f"The weights of {checkpoint.name!r} are not what its {checkpoint.described_by} "
            "describes. Correct either:"
        )
        raise ModelError(list_problems(title, problems))


def _fill_parameter(
    parameter: Parameter, slots: list[TensorSlot], source: CheckpointSource, dtype: str
) -> tuple[np.ndarray, list[str]]:
    """One parameter with all its layers, and the names of its tensors that are not finite."""
    buffer = _make_aligned((*parameter.leading, *parameter.shape), np.dtype(dtype))

    def fill_slot(slot: TensorSlot) -> str | None:
        target = buffer[slot.index]
        with np.errstate(all="ignore"):  # what is too large becomes inf, which is reported
            copy_numbers(source.read_slot(slot, parameter), target)
            return None if _is_finite(target) else slot.tensor

    with ThreadPoolExecutor(_THREADS) as threads:  # numpy copies without Python's lock
        return buffer, [name for name in threads.map(fill_slot, slots) if name]


def _make_aligned(shape: Shape, dtype: np.dtype) -> np.ndarray:
    """An array that jax takes over as it lies, for which it must begin at such an address."""
    size = math.prod(shape) * dtype.itemsize
    memory = np.empty(size + _ALIGNMENT, np.uint8)
    start = -memory.ctypes.data % _ALIGNMENT
    return memory[start : start + size].view(dtype).reshape(shape)


def copy_numbers(numbers: np.ndarray, target: np.ndarray) -> None:
    """Copy numbers into an array of maybe another precision, rounded as torch rounds them."""
    if numbers.dtype == ml_dtypes.bfloat16 and target.dtype == np.float32:
        # float32 begins with the same bits: several times as fast as a conversion of numbers
        bits = target.view(np.uint32)
        np.copyto(bits, numbers.view(np.uint16))
        np.left_shift(bits, 16, out=bits)
        return
    if numbers.dtype == np.float64 and target.dtype.itemsize == 2:
        numbers = numbers.astype(np.float32)
    np.copyto(target, numbers, casting="unsafe")


def _is_finite(numbers: np.ndarray) -> bool:
    if numbers.dtype.itemsize == 2:  # of these numpy has no fast extremes: look at the exponents
        exponent = np.uint16(0x7C00 if numbers.dtype == np.float16 else 0x7F80)
        return not ((numbers.view(np.uint16) & exponent) == exponent).any()
    # NaN if a number is NaN; much faster than isfinite of all numbers.
    return bool(np.isfinite([numbers.min(), numbers.max()]).all())
