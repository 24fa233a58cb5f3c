"""From a checkpoint's tensors to the transformer, by the names that a family gives them.

Each parameter is one array with all layers in it, filled tensor by tensor, so that memory holds the
model once and one tensor more. Every tensor that is missing, superfluous or of a wrong shape is
reported from the files' headers, before any tensor is read.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import product
from typing import TYPE_CHECKING, Any

import jax
import ml_dtypes
import numpy as np

from circuitgraph.errors import ArgumentError, ModelError, list_problems, unknown_name
from circuitgraph.models.build import build_transformer
from circuitgraph.models.checkpoint import Checkpoint
from circuitgraph.models.parameters import (
    Parameter,
    Rows,
    Shape,
    convert_tensor,
    list_parameters,
    stored_shape,
)
from circuitgraph.models.sizes import check_slots
from circuitgraph.models.spec import Spec
from circuitgraph.models.transformer import Transformer

if TYPE_CHECKING:
    from circuitgraph.models.families import Family

# What wrappers put before all names: torch.compile, DataParallel, peft, FSDP.
_WRAPPERS = ("_orig_mod.", "module.", "base_model.model.", "_fsdp_wrapped_module.")
_ALIGNMENT = 64  # bytes
_THREADS = 2  # more threads only wait for the same memory
DTYPES = ("float32", "bfloat16", "float16", "float64")  # to run in, and of tensors in files


def check_dtype(dtype: str) -> None:
    """Refuse a precision that does not exist, or that jax has not been told to have."""
    if dtype not in DTYPES:
        raise unknown_name("dtype", dtype, DTYPES)
    if dtype == "float64" and not jax.config.jax_enable_x64:  # pyright: ignore[reportAttributeAccessIssue]
        raise ArgumentError(
            "float64 needs jax's 64-bit mode: set JAX_ENABLE_X64=1, or "
            "jax.config.update('jax_enable_x64', True), before anything is computed."
        )


def _find_wrapper(checkpoint: Checkpoint) -> str:
    """The prefixes of wrappers, one within the other, that the names of all tensors have."""
    wrapper, names = "", list(checkpoint.shapes)
    while names and (
        inner := next((w for w in _WRAPPERS if all(n.startswith(w) for n in names)), "")
    ):
        wrapper, names = wrapper + inner, [name.removeprefix(inner) for name in names]
    return wrapper


@dataclass(frozen=True)
class _Slot:
    """One tensor of the files, and the part of one parameter that it fills.

    Attributes:
        index: of that part: layer, expert or head, as far as the parameter has such axes.
        shape: of the tensor in the file.
        rows: indices of the tensor's rows that count, None for all.
    """

    tensor: str
    index: tuple[int, ...]
    shape: Shape
    rows: Any


@dataclass(frozen=True)
class _Source:
    """A family's checkpoint.

    Attributes:
        stored: the name in the files of each tensor, by its name without the prefix of
            transformers' wrapper classes.
        prefix: what most names in the files begin with.
    """

    family: Family
    checkpoint: Checkpoint
    stored: Mapping[str, str]
    prefix: str

    @classmethod
    def from_checkpoint(cls, family: Family, checkpoint: Checkpoint) -> _Source:
        """Find the prefix of each tensor's name, after those of wrappers that all names have."""
        wrapper = _find_wrapper(checkpoint)
        own_names = {name.removeprefix(wrapper): name for name in checkpoint.shapes}
        prefixes = {
            name: next((p for p in family.prefixes if name.startswith(p)), "") for name in own_names
        }
        stored = {name.removeprefix(prefix): own_names[name] for name, prefix in prefixes.items()}
        return cls(family, checkpoint, stored, next(filter(None, prefixes.values()), ""))

    def share_unembedding(self, spec: Spec) -> _Source:
        """The source of a tied model; its one table may be stored as the unembedding alone.

        safetensors keeps one name of a shared pair, the first by the alphabet.
        """
        embedding = str(self.family.stored_as("embedding.weight"))
        if not spec.tied or embedding in self.stored or self.unembedding_name not in self.stored:
            return self
        return replace(self, stored={**self.stored, embedding: self.stored[self.unembedding_name]})

    def list_slots(self, parameter: Parameter, spec: Spec) -> Iterator[_Slot]:
        """The tensors that one parameter is made of."""
        name = self.family.stored_as(parameter.key)
        rows, shape = None, stored_shape(parameter, self.family.layout)
        leading = parameter.leading
        if isinstance(name, Rows) and name.of_experts:
            rows, n_rows = name.index(spec)
            leading, shape = leading[:1], (leading[1], *shape[:0:-1], n_rows)
            name = name.name
        elif isinstance(name, Rows):
            rows, n_rows = name.index(spec)
            is_conv1d = self.family.layout == "conv1d"
            shape = (*shape[:-1], n_rows) if is_conv1d else (n_rows, *shape[1:])
            name = name.name
        by_head = "{h}" in name  # one tensor per head: the first axis of its shape is the head
        leading = (*leading, parameter.shape[0]) if by_head else leading
        for index in product(*(range(n) for n in leading)):
            layer, last = (index[0], index[-1]) if index else (0, 0)
            tensor = name.format(i=layer, h=last, e=last)
            yield _Slot(tensor, index, shape[1:] if by_head else shape, rows)

    def read_slot(self, slot: _Slot, parameter: Parameter) -> np.ndarray:
        """One tensor in our shape; a view of the file's tensor where possible."""
        stored = self.checkpoint.read_array(self.stored[slot.tensor])
        layout = self.family.layout
        if len(slot.index) < len(parameter.leading):  # all experts of a layer: [experts, in, out]
            return stored.take(slot.rows, -1).swapaxes(1, -1)
        if slot.rows is not None:
            axis = -1 if layout == "conv1d" else 0  # conv1d stores [in, out], linear [out, in]
            stored = stored.take(slot.rows, axis)
        by_head = len(slot.index) > len(parameter.leading)
        return stored if by_head else convert_tensor(stored, parameter, layout)

    @property
    def unembedding_name(self) -> str:
        """The tensor of the unembedding, which has no prefix."""
        return str(self.family.stored_as("unembedding.weight"))

    def untie_if_stored(self, spec: Spec) -> Spec:
        """The spec without tying, where the files hold two different tables.

        transformers then uses both tables, whatever the configuration says.
        """
        names = [str(self.family.stored_as("embedding.weight")), self.unembedding_name]
        if not spec.tied or any(name not in self.stored for name in names):
            return spec
        embedding, unembedding = (self.stored[name] for name in names)
        if self.checkpoint.shapes[embedding] != self.checkpoint.shapes[unembedding]:
            return replace(spec, tied=False)
        tables = [self.checkpoint.read_array(name) for name in (embedding, unembedding)]
        return replace(spec, tied=bool((tables[0] == tables[1]).all()))

    def find_problems(self, slots: list[_Slot], spec: Spec) -> list[str]:
        """Tensors that are missing, left over, or of another shape or type than they must be."""
        problems: dict[str, str | None] = {}  # by tensor: several slots may read one tensor
        for slot in slots:
            if slot.tensor not in problems:
                problems[slot.tensor] = self._find_problem(slot)
        if spec.tied:
            problems.setdefault(self.unembedding_name)
        unexpected = sorted(
            name
            for name in self.stored
            if name not in problems and not re.search(self.family.buffers, name)
        )
        return sorted(filter(None, problems.values())) + [
            f"unexpected: {self.stored[name]}" for name in unexpected
        ]

    def _find_problem(self, slot: _Slot) -> str | None:
        if slot.tensor not in self.stored:
            is_outside = slot.tensor.startswith(self.unembedding_name.removesuffix("weight"))
            return f"missing: {'' if is_outside else self.prefix}{slot.tensor}"
        name = self.stored[slot.tensor]
        shape, dtype = self.checkpoint.shapes[name], self.checkpoint.dtypes[name]
        if shape != slot.shape:
            return (
                f"wrong shape: {name} has {list(shape)}, but {self.checkpoint.described_by} asks "
                f"for {list(slot.shape)}"
            )
        if dtype not in DTYPES:  # rounded numbers, whose scale is in another tensor
            return f"wrong dtype: {name} is {dtype}, but must be one of {', '.join(DTYPES)}"
        return None


def assemble_transformer(
    spec: Spec, family: Family, checkpoint: Checkpoint, dtype: str
) -> Transformer:
    """The transformer with the checkpoint's weights in it.

    Raises:
        ModelError: tensors are missing, left over, of a wrong shape or not finite; all are listed.
    """
    source = _Source.from_checkpoint(family, checkpoint).share_unembedding(spec)
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
            shared[sources] = jax.device_put(buffer, jax.devices()[0])  # on a CPU the same memory
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
    parameter: Parameter, slots: list[_Slot], source: _Source, dtype: str
) -> tuple[np.ndarray, list[str]]:
    """One parameter with all its layers, and the names of its tensors that are not finite."""
    buffer = _make_aligned((*parameter.leading, *parameter.shape), np.dtype(dtype))

    def fill_slot(slot: _Slot) -> str | None:
        target = buffer[slot.index]
        with np.errstate(all="ignore"):  # what is too large becomes inf, which is reported
            _copy_numbers(source.read_slot(slot, parameter), target)
            return None if _is_finite(target) else slot.tensor

    with ThreadPoolExecutor(_THREADS) as threads:  # numpy copies without Python's lock
        return buffer, [name for name in threads.map(fill_slot, slots) if name]


def _make_aligned(shape: Shape, dtype: np.dtype) -> np.ndarray:
    """An array that jax takes over as it lies, for which it must begin at such an address."""
    size = math.prod(shape) * dtype.itemsize
    memory = np.empty(size + _ALIGNMENT, np.uint8)
    start = -memory.ctypes.data % _ALIGNMENT
    return memory[start : start + size].view(dtype).reshape(shape)


def _copy_numbers(numbers: np.ndarray, target: np.ndarray) -> None:
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
