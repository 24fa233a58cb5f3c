"""From a checkpoint's tensors to the transformer, by the names that a family gives them.

Each parameter is one array with all layers in it, filled tensor by tensor, so that memory holds the model once and
one tensor more. All that is missing, superfluous or of a wrong shape is found from the files' headers first.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
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
from circuitgraph.models.parameters import Parameter, Rows, Shape, converted, parameters, stored_shape
from circuitgraph.models.spec import NormSpec, Spec
from circuitgraph.models.transformer import Block, Transformer

if TYPE_CHECKING:
    from circuitgraph.models.families import Family

DTYPES = ("float32", "bfloat16", "float16", "float64")


def check_dtype(dtype: str) -> None:
    """Refuse a precision that does not exist, or that jax has not been told to have."""
    if dtype not in DTYPES:
        raise unknown_name("dtype", dtype, DTYPES)
    if dtype == "float64" and not jax.config.jax_enable_x64:  # pyright: ignore[reportAttributeAccessIssue]
        raise ArgumentError(
            "float64 needs jax's 64-bit mode: set JAX_ENABLE_X64=1, or jax.config.update('jax_enable_x64', True), "
            "before anything is computed."
        )


@dataclass(frozen=True)
class _Slot:
    """One tensor of the files and the place of its content in one parameter."""

    tensor: str
    place: tuple[int, ...]
    shape: Shape
    rows: Any  # indices of the rows that count, None for all


def assemble(spec: Spec, family: Family, checkpoint: Checkpoint, dtype: str) -> Transformer:
    """The transformer with the checkpoint's weights in it.

    Raises:
        ModelError: tensors are missing, left over, of a wrong shape or not finite; all are listed.
    """
    stored = _stored_names(family, checkpoint)
    spec = _really_tied(spec, family, checkpoint, stored)
    wanted = parameters(spec)
    plan = {p: list(_slots(p, spec, family)) for p in wanted}
    _check(plan, spec, family, checkpoint, stored)
    arrays: dict[str, jax.Array] = {}
    shared: dict[tuple[str, ...], jax.Array] = {}  # one norm may serve two sublayers
    problems: list[str] = []
    for parameter, slots in plan.items():
        sources = (parameter.key.split(".")[-2], *(slot.tensor for slot in slots))
        if sources not in shared:
            shared[sources], bad = _filled(parameter, slots, family, checkpoint, stored, dtype)
            problems += [f"not finite: {stored[tensor]}" for tensor in bad]
        arrays[parameter.key] = shared[sources]
    if problems:
        raise ModelError(list_problems(_title(checkpoint), problems))
    return _without_inert_mlps(build(spec, arrays))


def _title(checkpoint: Checkpoint) -> str:
    return f"The weights of {checkpoint.name!r} are not what its config.json describes. Correct either:"


def _stored_names(family: Family, checkpoint: Checkpoint) -> dict[str, str]:
    """The name in the files of each tensor, by the name without the prefix of transformers' wrapper classes."""
    found = {}
    for stored in checkpoint.shapes:
        prefix = next((p for p in family.prefixes if stored.startswith(p)), "")
        found[stored.removeprefix(prefix)] = stored
    return found


def _really_tied(spec: Spec, family: Family, checkpoint: Checkpoint, stored: Mapping[str, str]) -> Spec:
    """As transformers: where the configuration ties but the files hold two different tables, both are used."""
    embedding, head = (str(family.stored_as(f"{site}.weight")) for site in ("embedding", "unembedding"))
    if not spec.tied or embedding not in stored or head not in stored:
        return spec
    if checkpoint.shapes[stored[embedding]] != checkpoint.shapes[stored[head]]:
        return replace(spec, tied=False)
    same = bool((checkpoint.read(stored[embedding]) == checkpoint.read(stored[head])).all())
    return replace(spec, tied=same)


def _slots(parameter: Parameter, spec: Spec, family: Family) -> Iterator[_Slot]:
    """The tensors that one parameter is made of."""
    source = family.stored_as(parameter.key)
    rows, shape = None, stored_shape(parameter, family.layout)
    if isinstance(source, Rows):
        rows, n_rows = source.index(spec)
        shape = (*shape[:-1], n_rows) if family.layout == "conv1d" else (n_rows, *shape[1:])
        source = source.name
    by_head = "{h}" in source
    lead = (*parameter.leading, parameter.shape[0]) if by_head else parameter.leading
    for place in product(*(range(n) for n in lead)):
        layer, last = place[0] if place else 0, place[-1] if place else 0
        yield _Slot(source.format(i=layer, h=last, e=last), place, shape[1:] if by_head else shape, rows)


def _check(
    plan: Mapping[Parameter, list[_Slot]],
    spec: Spec,
    family: Family,
    checkpoint: Checkpoint,
    stored: Mapping[str, str],
) -> None:
    """Refuse what is missing, left over, or of another shape than the configuration asks for."""
    problems, used = [], set()
    prefix = next((p for p in family.prefixes if any(name.startswith(p) for name in checkpoint.shapes)), "")
    for slot in (slot for slots in plan.values() for slot in slots):
        if slot.tensor in used:
            continue
        used.add(slot.tensor)
        if slot.tensor not in stored:
            outside = slot.tensor.startswith(str(family.stored_as("unembedding.weight")).removesuffix("weight"))
            problems.append(f"missing: {'' if outside else prefix}{slot.tensor}")
        elif (found := checkpoint.shapes[stored[slot.tensor]]) != slot.shape:
            problems.append(
                f"wrong shape: {stored[slot.tensor]} has {list(found)}, but config.json asks for {list(slot.shape)}"
            )
    if spec.tied:
        used.add(str(family.stored_as("unembedding.weight")))
    left = [stored[tensor] for tensor in stored if tensor not in used and not re.search(family.buffers, tensor)]
    problems = sorted(problems) + [f"unexpected: {tensor}" for tensor in sorted(left)]
    if problems:
        raise ModelError(list_problems(_title(checkpoint), problems))


def _filled(
    parameter: Parameter,
    slots: list[_Slot],
    family: Family,
    checkpoint: Checkpoint,
    stored: Mapping[str, str],
    dtype: str,
) -> tuple[jax.Array, list[str]]:
    """One parameter with all its layers, and the tensors in which a number is not finite."""
    import torch

    buffer = torch.empty((*parameter.leading, *parameter.shape), dtype=getattr(torch, dtype))
    bad = []
    for slot in slots:
        raw = checkpoint.read(stored[slot.tensor])
        if slot.rows is not None:
            raw = raw.index_select(-1 if family.layout == "conv1d" else 0, torch.from_numpy(slot.rows))
        by_head = len(slot.place) > len(parameter.leading)
        target = buffer[slot.place]
        target.copy_(raw if by_head else converted(raw, parameter, family.layout))
        if not torch.isfinite(target.sum(dtype=torch.float32)) and not torch.isfinite(target).all():
            bad.append(slot.tensor)
    return to_jax(buffer), bad


def to_jax(tensor: Any) -> jax.Array:
    """A torch tensor on jax's device; on a CPU it is the same memory, which nobody else may change from now on."""
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


def _without_inert_mlps(model: Transformer) -> Transformer:
    """Without MLPs, where every MLP's output projection is exactly zero: it could never write anything.

    That is how attention-only models are stored in families that always have MLPs.
    """
    mlp = model.blocks.mlp
    if mlp is None or mlp.post_norm is not None:
        return model
    if any(part is not None and bool(jnp.any(part)) for part in (mlp.b_out, mlp.w_out[:1], mlp.w_out)):
        return model
    spec = replace(model.spec, d_mlp=None)
    blocks = Block(replace(model.blocks.attention, spec=spec), None)
    return replace(model, blocks=blocks, spec=spec)
