"""Every parameter of a spec's transformer, by our name, and how checkpoints store it.

A family says under which name a checkpoint keeps each part; this file knows the rest: shapes,
biases, and how one tensor holds several matrices.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from circuitgraph.models.spec import NormSpec, Spec

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Rows:
    """Some rows of a tensor in which several matrices lie together.

    Attributes:
        name: of the tensor, as in `Names`.
        index: of the rows, and how many the tensor has.
        of_experts: the tensor holds all experts of a layer, [experts, in, out], biases
            [experts, out]; what is called rows here is its last axis.
    """

    name: str
    index: Callable[[Spec], tuple[np.ndarray, int]]
    of_experts: bool = False


def block(name: str, part: int, sizes: Callable[[Spec], tuple[int, ...]]) -> Rows:
    """One of several matrices that lie one after the other; ``sizes`` are their numbers of rows."""

    def row_index(spec: Spec) -> tuple[np.ndarray, int]:
        ends = np.cumsum((0, *sizes(spec)))
        return np.arange(ends[part], ends[part + 1]), int(ends[-1])

    return Rows(name, row_index)


def qkv_blocks(name: str) -> dict[str, str | Rows]:
    """All queries, then all keys, then all values."""

    def row_counts(s: Spec) -> tuple[int, ...]:
        return s.n_heads * s.d_head, s.n_kv_heads * s.d_head, s.n_kv_heads * s.d_head

    return {
        f"attention.{letter}": block(name, part, row_counts) for part, letter in enumerate("qkv")
    }


def qkv_by_group(name: str) -> dict[str, str | Rows]:
    """For each key-value head the queries that read it, then its key, then its value."""

    def rows_of(letter: str) -> Rows:
        def row_index(s: Spec) -> tuple[np.ndarray, int]:
            per_group = s.n_heads // s.n_kv_heads
            pick = {"q": slice(per_group), "k": slice(-2, -1), "v": slice(-1, None)}[letter]
            n_rows = s.n_kv_heads * (per_group + 2) * s.d_head
            # [group, queries + key + value, d_head]
            rows = np.arange(n_rows).reshape(s.n_kv_heads, per_group + 2, s.d_head)
            return rows[:, pick].ravel(), n_rows

        return Rows(name, row_index)

    return {f"attention.{letter}": rows_of(letter) for letter in "qkv"}


Names = Mapping[str, str | Rows]
"""Our name of a part -> the checkpoint's, both without ``.weight`` and ``.bias``, or both with it.

``{i}``, ``{h}`` and ``{e}`` stand for the layer, the head and the expert.
"""

StorageLayout = Literal["linear", "conv1d", "transformer_lens"]
"""How matrices lie in the files.

torch's Linear is [out, in], Conv1D [in, out], and TransformerLens's are by head, [head, in, out].
"""


@dataclass(frozen=True)
class Parameter:
    """One array of the transformer.

    Attributes:
        leading: axes before those of one layer (one expert): layers, then experts.
        shape: of one layer (one expert).
        flat: whether files store the shape as one axis.
    """

    key: str
    leading: Shape
    shape: Shape
    flat: bool = False


def list_parameters(spec: Spec) -> list[Parameter]:
    """Every parameter that a model of this spec has."""
    d, h, kv, e, m = spec.d_model, spec.n_heads, spec.n_kv_heads, spec.d_head, spec.d_mlp
    parameters: list[Parameter] = []

    def add_part(name: str, shape: Shape, bias: Shape | None = None, leading: Shape = ()) -> None:
        parameters.append(Parameter(f"{name}.weight", leading, shape))
        if bias is not None:
            parameters.append(Parameter(f"{name}.bias", leading, bias))

    def add_norm(
        name: str, norm: NormSpec | None, shape: Shape, leading: Shape = (), flat: bool = False
    ) -> None:
        parts = () if norm is None else (("weight", norm.weight), ("bias", norm.bias))
        parameters.extend(
            Parameter(f"{name}.{part}", leading, shape, flat) for part, exists in parts if exists
        )

    layers = (spec.n_layers,)
    add_part("embedding", (spec.d_vocab, d))
    if spec.learned_positions:
        add_part("positional", (spec.n_ctx, d))
    add_norm("embed_norm", spec.embed_norm, (d,))
    add_norm("attention.norm", spec.norm, (d,), layers)
    for name, heads in (("q", h), ("k", kv), ("v", kv)):
        bias = (heads, e) if spec.qkv_bias else None
        add_part(f"attention.{name}", (heads, e, d), bias=bias, leading=layers)
        if name != "v":
            shape = (e,) if spec.qk_norm_over == "head" else (heads, e)
            add_norm(
                f"attention.{name}_norm",
                spec.qk_norm,
                shape,
                layers,
                flat=spec.qk_norm_over == "width",
            )
    if spec.attn_sinks:
        add_part("attention.sink", (h,), leading=layers)
    add_part("attention.o", (h, d, e), bias=(d,) if spec.o_bias else None, leading=layers)
    add_norm("attention.post_norm", spec.post_norm, (d,), layers)
    if m is not None:
        experts = (spec.experts.n_experts,) if spec.experts else ()
        add_norm("mlp.norm", spec.norm, (d,), layers)
        for name in ("in", "gate") if spec.gated else ("in",):
            add_part(
                f"mlp.{name}",
                (m, d),
                bias=(m,) if spec.mlp_bias else None,
                leading=layers + experts,
            )
        add_norm("mlp.hidden_norm", spec.hidden_norm, (m,), layers)
        add_part("mlp.out", (d, m), bias=(d,) if spec.mlp_bias else None, leading=layers + experts)
        add_norm("mlp.post_norm", spec.post_norm, (d,), layers)
        if spec.experts:
            n, shared = spec.experts.n_experts, spec.experts.d_shared
            bias = (n,) if spec.experts.router_bias else None
            add_part("mlp.router", (n, d), bias=bias, leading=layers)
            if spec.experts.choice_bias:
                add_part("mlp.choice", (n,), leading=layers)
            if shared is not None:
                add_part("mlp.shared.in", (shared, d), leading=layers)
                add_part("mlp.shared.gate", (shared, d), leading=layers)
                add_part("mlp.shared.out", (d, shared), leading=layers)
            if spec.experts.shared_gate:
                add_part("mlp.shared_share", (1, d), leading=layers)
    add_norm("final_norm", spec.final_norm, (d,))
    if not spec.tied:
        add_part("unembedding", (spec.d_vocab_out, d))
    if spec.unembed_bias:
        parameters.append(Parameter("unembedding.bias", (), (spec.d_vocab_out,)))
    return parameters


def stored_shape(parameter: Parameter, layout: StorageLayout) -> Shape:
    """The shape that one layer's tensor of this parameter has in a file."""
    key, shape = parameter.key, parameter.shape
    if parameter.flat:
        return (math.prod(shape),)
    if layout == "transformer_lens":
        return (*shape[:-2], shape[-1], shape[-2]) if _is_matrix(parameter) else shape
    if key == "attention.o.weight":
        heads, d, d_head = shape
        shape = (d, heads * d_head)
    elif re.fullmatch(r"attention\.[qkv]\.(weight|bias)", key):
        shape = (shape[0] * shape[1], *shape[2:])
    if layout == "conv1d" and _is_matrix(parameter) and parameter.leading:
        return shape[::-1]  # the unembedding, which has no layers, is [out, in] here too
    return shape


def convert_tensor(tensor: np.ndarray, parameter: Parameter, layout: StorageLayout) -> np.ndarray:
    """A stored tensor as a view of our shape."""
    if layout == "transformer_lens":
        return np.swapaxes(tensor, -1, -2) if _is_matrix(parameter) else tensor
    if layout == "conv1d" and _is_matrix(parameter) and parameter.leading:
        tensor = tensor.T
    if parameter.key == "attention.o.weight":
        heads, d, d_head = parameter.shape
        return tensor.reshape(d, heads, d_head).swapaxes(0, 1)  # [head, d, d_head]
    return tensor.reshape(parameter.shape)


def _is_matrix(parameter: Parameter) -> bool:
    """Whether the parameter multiplies vectors; tables and norms do not."""
    table = parameter.key in ("embedding.weight", "positional.weight")
    return (
        len(parameter.shape) >= 2
        and parameter.key.endswith(".weight")
        and not table
        and "norm" not in parameter.key
    )
