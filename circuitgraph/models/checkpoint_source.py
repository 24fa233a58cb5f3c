"""Which tensors of a checkpoint's files make which parameter, by the names that a family gives.

Every tensor that is missing, superfluous or of a wrong shape is reported from the files' headers,
before any tensor is read.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np

from circuitgraph.models.checkpoint import Checkpoint
from circuitgraph.models.parameters import (
    Parameter,
    Rows,
    Shape,
    convert_tensor,
    stored_shape,
)
from circuitgraph.models.spec import Spec

if TYPE_CHECKING:
    from circuitgraph.models.families import Family

# What wrappers put before all names: torch.compile, DataParallel, peft, FSDP.
_WRAPPERS = ("_orig_mod.", "module.", "base_model.model.", "_fsdp_wrapped_module.")
DTYPES = ("float32", "bfloat16", "float16", "float64")  # to run in, and of tensors in files


def _find_wrapper(checkpoint: Checkpoint) -> str:
    """The prefixes of wrappers, one within the other, that the names of all tensors have."""
    wrapper, names = "", list(checkpoint.shapes)
    while names and (
        inner := next((w for w in _WRAPPERS if all(n.startswith(w) for n in names)), "")
    ):
        wrapper, names = wrapper + inner, [name.removeprefix(inner) for name in names]
    return wrapper


@dataclass(frozen=True)
class TensorSlot:
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
class CheckpointSource:
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
    def from_checkpoint(cls, family: Family, checkpoint: Checkpoint) -> CheckpointSource:
        """Find the prefix of each tensor's name, after those of wrappers that all names have."""
        wrapper = _find_wrapper(checkpoint)
        own_names = {name.removeprefix(wrapper): name for name in checkpoint.shapes}
        prefixes = {
            name: next((p for p in family.prefixes if name.startswith(p)), "") for name in own_names
        }
        stored = {name.removeprefix(prefix): own_names[name] for name, prefix in prefixes.items()}
        return cls(family, checkpoint, stored, next(filter(None, prefixes.values()), ""))

    def share_unembedding(self, spec: Spec) -> CheckpointSource:
        """The source of a tied model; its one table may be stored as the unembedding alone.

        safetensors keeps one name of a shared pair, the first by the alphabet.
        """
        embedding = str(self.family.stored_as("embedding.weight"))
        if not spec.tied or embedding in self.stored or self.unembedding_name not in self.stored:
            return self
        return replace(self, stored={**self.stored, embedding: self.stored[self.unembedding_name]})

    def list_slots(self, parameter: Parameter, spec: Spec) -> Iterator[TensorSlot]:
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
            yield TensorSlot(tensor, index, shape[1:] if by_head else shape, rows)

    def read_slot(self, slot: TensorSlot, parameter: Parameter) -> np.ndarray:
        """One tensor in our shape; a view of the file's tensor where possible."""
        return self.convert_stored(
            self.checkpoint.read_array(self.stored[slot.tensor]), slot, parameter
        )

    def convert_stored(
        self, stored: np.ndarray, slot: TensorSlot, parameter: Parameter
    ) -> np.ndarray:
        """A tensor as it lies in the file, in our shape; numbers are moved or left out, no more."""
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

    def find_problems(self, slots: list[TensorSlot], spec: Spec) -> list[str]:
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

    def _find_problem(self, slot: TensorSlot) -> str | None:
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
