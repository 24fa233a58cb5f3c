"""From a checkpoint's tensors to the transformer, by the names that a family gives them.

Each parameter is one array with all layers in it, filled tensor by tensor, so that memory holds the
model once and
one tensor more. All that is missing, superfluous or of a wrong shape is found from the files'
headers first.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import product
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp

from circuitgraph.errors import ArgumentError, ModelError, list_problems, unknown_name
from circuitgraph.models.attention import Attention
from circuitgraph.models.checkpoint import Checkpoint
from circuitgraph.models.mlp import MLP
from circuitgraph.models.norms import Norm
from circuitgraph.models.parameters import (
    Parameter,
    Rows,
    Shape,
    converted,
    parameters,
    stored_shape,
)
from circuitgraph.models.spec import NormSpec, Spec
from circuitgraph.models.transformer import Block, Transformer

if TYPE_CHECKING:
    from circuitgraph.models.families import Family

_THREADS = 2  # more only wait for the same memory
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


@dataclass(frozen=True)
class _Slot:
    """One tensor of the files and the place of its content in one parameter."""

    tensor: str
    place: tuple[int, ...]
    shape: Shape
    rows: Any  # indices of the rows that count, None for all


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
    def of(cls, family: Family, checkpoint: Checkpoint) -> _Source:
        """Names without their prefixes."""
        prefixes = {
            name: next((p for p in family.prefixes if name.startswith(p)), "")
            for name in checkpoint.shapes
        }
        stored = {name.removeprefix(prefix): name for name, prefix in prefixes.items()}
        return cls(family, checkpoint, stored, next(filter(None, prefixes.values()), ""))

    def slots(self, parameter: Parameter, spec: Spec) -> Iterator[_Slot]:
        """The tensors that one parameter is made of."""
        name = self.family.stored_as(parameter.key)
        rows, shape = None, stored_shape(parameter, self.family.layout)
        if isinstance(name, Rows):
            rows, n_rows = name.index(spec)
            shape = (
                (*shape[:-1], n_rows) if self.family.layout == "conv1d" else (n_rows, *shape[1:])
            )
            name = name.name
        by_head = "{h}" in name
        lead = (*parameter.leading, parameter.shape[0]) if by_head else parameter.leading
        for place in product(*(range(n) for n in lead)):
            layer, last = place[0] if place else 0, place[-1] if place else 0
            yield _Slot(
                name.format(i=layer, h=last, e=last), place, shape[1:] if by_head else shape, rows
            )

    def read(self, slot: _Slot, parameter: Parameter) -> Any:
        """One tensor as torch has it, in our shape; a view where that can be."""
        import torch

        raw, layout = self.checkpoint.read(self.stored[slot.tensor]), self.family.layout
        if slot.rows is not None:
            raw = raw.index_select(-1 if layout == "conv1d" else 0, torch.from_numpy(slot.rows))
        by_head = len(slot.place) > len(parameter.leading)
        return raw if by_head else converted(raw, parameter, layout)

    @property
    def head(self) -> str:
        """The tensor of the unembedding, which has no prefix."""
        return str(self.family.stored_as("unembedding.weight"))

    def really_tied(self, spec: Spec) -> Spec:
        """As transformers: where the configuration ties but the files hold two different tables,
        both are used.
        """
        names = [str(self.family.stored_as("embedding.weight")), self.head]
        if not spec.tied or any(name not in self.stored for name in names):
            return spec
        embedding, head = (self.stored[name] for name in names)
        if self.checkpoint.shapes[embedding] != self.checkpoint.shapes[head]:
            return replace(spec, tied=False)
        same = bool((self.checkpoint.read(embedding) == self.checkpoint.read(head)).all())
        return replace(spec, tied=same)

    def problems(self, plan: Mapping[Parameter, list[_Slot]], spec: Spec) -> list[str]:
        """What is missing, of another shape than the configuration asks for, not in floating point,
        or left over.
        """
        found, used = [], set()
        for slot in (slot for slots in plan.values() for slot in slots):
            if slot.tensor in used:
                continue
            used.add(slot.tensor)
            if slot.tensor not in self.stored:
                outside = slot.tensor.startswith(self.head.removesuffix("weight"))
                found.append(f"missing: {'' if outside else self.prefix}{slot.tensor}")
            elif (shape := self.checkpoint.shapes[self.stored[slot.tensor]]) != slot.shape:
                name = self.stored[slot.tensor]
                found.append(
                    f"wrong shape: {name} has {list(shape)}, but config.json asks for "
                    f"{list(slot.shape)}"
                )
            elif (
                kept := self.checkpoint.dtypes[self.stored[slot.tensor]]
            ) not in DTYPES:  # rounded, scaled elsewhere
                name = self.stored[slot.tensor]
                found.append(
                    f"wrong dtype: {name} is {kept}, but must be one of {', '.join(DTYPES)}"
                )
        if spec.tied:
            used.add(self.head)
        left = [
            name
            for name in self.stored
            if name not in used and not re.search(self.family.buffers, name)
        ]
        return sorted(found) + [f"unexpected: {self.stored[name]}" for name in sorted(left)]


def assemble(spec: Spec, family: Family, checkpoint: Checkpoint, dtype: str) -> Transformer:
    """The transformer with the checkpoint's weights in it.

    Raises:
        ModelError: tensors are missing, left over, of a wrong shape or not finite; all are listed.
    """
    source = _Source.of(family, checkpoint)
    spec = source.really_tied(spec)
    plan = {parameter: list(source.slots(parameter, spec)) for parameter in parameters(spec)}
    _refuse(checkpoint, source.problems(plan, spec))
    arrays: dict[str, jax.Array] = {}
    shared: dict[tuple[str, ...], jax.Array] = {}  # one norm may serve two sublayers
    problems, silent = [], True
    for parameter, slots in plan.items():
        sources = (parameter.key.split(".")[-2], *(slot.tensor for slot in slots))
        if sources not in shared:
            buffer, bad = _filled(parameter, slots, source, dtype)
            problems += [f"not finite: {source.stored[name]}" for name in bad]
            silent = silent and not (
                parameter.key.startswith("mlp.out") and any(part.any() for part in buffer)
            )
            shared[sources] = to_jax(buffer)
        arrays[parameter.key] = shared[sources]
    _refuse(checkpoint, problems)
    # Attention-only models are stored with MLPs of zeros, in families that always have MLPs: they
    # could never write.
    return build(replace(spec, d_mlp=None) if silent and spec.post_norm is None else spec, arrays)


def _refuse(checkpoint: Checkpoint, problems: list[str]) -> None:
    if problems:
        title = f"The weights of {checkpoint.name!r} are not what its config.json describes. Correct either:"
        raise ModelError(list_problems(title, problems))


def _filled(
    parameter: Parameter, slots: list[_Slot], source: _Source, dtype: str
) -> tuple[Any, list[str]]:
    """One parameter with all its layers, as torch has it, and the tensors in which a number is not
    finite.
    """
    import torch

    buffer = torch.empty((*parameter.leading, *parameter.shape), dtype=getattr(torch, dtype))

    def fill(slot: _Slot) -> str | None:
        target = buffer[slot.place]
        target.copy_(source.read(slot, parameter))
        extremes = torch.stack(
            torch.aminmax(target)
        )  # NaN if there is one; much faster than isfinite of all
        return None if torch.isfinite(extremes).all() else slot.tensor

    with ThreadPoolExecutor(_THREADS) as pool:  # torch copies without Python's lock
        return buffer, [name for name in pool.map(fill, slots) if name]


def to_jax(tensor: Any) -> jax.Array:
    """A torch tensor on jax's device; on a CPU it is the same memory, which nobody else may change
    from now on.
    """
    return jnp.asarray(jax.device_put(jax.dlpack.from_dlpack(tensor), jax.devices()[0]))


def build(spec: Spec, arrays: Mapping[str, jax.Array]) -> Transformer:
    """The transformer with these parameters; see `parameters` for their names."""

    def norm(name: str, norm_spec: NormSpec | None) -> Norm | None:
        if norm_spec is None:
            return None
        return Norm(arrays.get(f"{name}.weight"), arrays.get(f"{name}.bias"), norm_spec)

    attention = Attention(
        norm=norm("attention.norm", spec.norm),
        w_q=arrays["attention.q.weight"],
        w_k=arrays["attention.k.weight"],
        w_v=arrays["attention.v.weight"],
        b_q=arrays.get("attention.q.bias"),
        b_k=arrays.get("attention.k.bias"),
        b_v=arrays.get("attention.v.bias"),
        q_norm=norm("attention.q_norm", spec.qk_norm),
        k_norm=norm("attention.k_norm", spec.qk_norm),
        w_o=arrays["attention.o.weight"],
        b_o=arrays.get("attention.o.bias"),
        post_norm=norm("attention.post_norm", spec.post_norm),
        spec=spec,
    )
    mlp = None
    if spec.d_mlp is not None:
        mlp = MLP(
            norm=norm("mlp.norm", spec.norm),
            w_in=arrays["mlp.in.weight"],
            b_in=arrays.get("mlp.in.bias"),
            w_gate=arrays.get("mlp.gate.weight"),
            b_gate=arrays.get("mlp.gate.bias"),
            hidden_norm=norm("mlp.hidden_norm", spec.hidden_norm),
            w_out=arrays["mlp.out.weight"],
            b_out=arrays.get("mlp.out.bias"),
            post_norm=norm("mlp.post_norm", spec.post_norm),
            router=arrays.get("mlp.router.weight"),
            spec=spec,
        )
    return Transformer(
        embedding=arrays["embedding.weight"],
        positional=arrays.get("positional.weight"),
        embed_norm=norm("embed_norm", spec.embed_norm),
        blocks=Block(attention, mlp),
        final_norm=norm("final_norm", spec.final_norm),
        unembedding=arrays.get("unembedding.weight"),
        b_unembed=arrays.get("unembedding.bias"),
        spec=spec,
    )
