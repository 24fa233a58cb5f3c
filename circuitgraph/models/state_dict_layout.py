"""State dicts whose tensors lie otherwise than a HookedTransformer's.

Most small models of the literature descend from the code of Nanda et al. 2023 ("Progress measures
for grokking"), which Zhong et al. 2023 ("The Clock and the Pizza") and others took over. It
multiplies from the left: W_E is [d_model, token], W_Q, W_K and W_V are [head, d_head, d_model], W_O
is [d_model, head * d_head], W_in [d_mlp, d_model] and W_out [d_model, d_mlp], while W_U and W_pos
lie as in TransformerLens. Some biases, or all, do not exist. Here such tensors are turned into
TransformerLens's.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from circuitgraph.errors import ModelError, list_problems
from circuitgraph.models.spec import Spec
from circuitgraph.models.state_dict import StateDict

LAYOUTS = ("transformer_lens", "transposed")

_OTHER_NAMES = {  # as regular expressions, and TransformerLens's names
    r"^attn_blocks\.(\d+)\.(?:attn\.)?": r"blocks.\1.attn.",
    r"^(W_E)$": r"embed.\1",
    r"^(W_pos)$": r"pos_embed.\1",
    r"^([Wb]_U)$": r"unembed.\1",
}

_BIASES = {  # our switch of a kind of bias, and the tensors that it switches
    "qkv_bias": r"^blocks\.\d+\.attn\._?b_[QKV]$",
    "o_bias": r"^blocks\.\d+\.attn\.b_O$",
    "mlp_bias": r"^blocks\.\d+\.mlp\.b_(in|out)$",
    "unembed_bias": r"^unembed\.b_U$",
}


@dataclass(frozen=True)
class _Matrix:
    """One matrix, of every layer if it is in the layers.

    Attributes:
        tensors: the names that are in the file.
        shape: TransformerLens's.
        transposed: the shape in the other layout.
        turn: from the other layout to TransformerLens's.
    """

    tensors: tuple[str, ...]
    shape: tuple[int, ...]
    transposed: tuple[int, ...]
    turn: Callable[[Any], Any]


def rename_tensors(checkpoint: StateDict) -> None:
    """Give tensors the names that TransformerLens has for them.

    Raises:
        ModelError: a tensor is there under both names.
    """
    for tensor in list(checkpoint.shapes):
        for pattern, name in _OTHER_NAMES.items():
            if re.search(pattern, tensor):
                checkpoint.rename_tensor(tensor, re.sub(pattern, name, tensor))


def turn_matrices(checkpoint: StateDict, spec: Spec, layout: str | None) -> bool:
    """Lay every matrix as TransformerLens has it, and say whether any lay otherwise.

    A matrix's shape says which way round it lies. Of a square one the other matrices say it, where
    they agree, or else ``layout``.

    Raises:
        ModelError: nothing says which way round a square matrix lies.
    """
    lens: list[_Matrix] = []
    transposed: list[_Matrix] = []
    square: list[_Matrix] = []
    for matrix in _list_matrices(checkpoint, spec):
        shapes = {checkpoint.shapes[tensor] for tensor in matrix.tensors}
        if shapes == {matrix.shape} == {matrix.transposed}:
            square.append(matrix)
        elif shapes == {matrix.transposed}:
            transposed.append(matrix)
        elif shapes == {matrix.shape}:
            lens.append(matrix)
    if layout is None and square:
        if bool(lens) == bool(transposed):
            raise ModelError(_describe_squares(checkpoint, square))
        layout = "transposed" if transposed else "transformer_lens"
    if layout == "transposed":
        transposed += square
    for matrix in transposed:
        for tensor in matrix.tensors:
            turned = matrix.turn(checkpoint.read_tensor(tensor)).contiguous()
            checkpoint.set_tensor(tensor, turned)
    return bool(transposed)


def drop_biases(checkpoint: StateDict, spec: Spec, *, any_kind: bool) -> Spec:
    """The spec without the biases that the file does not have.

    A HookedTransformer has all biases. So a file in its layout must have all or none; with
    ``any_kind`` each kind of bias by itself may be missing in all layers.
    """
    stored = {
        switch: any(re.search(pattern, tensor) for tensor in checkpoint.shapes)
        for switch, pattern in _BIASES.items()
    }
    if not any_kind and any(stored.values()):
        return spec
    switches: dict[str, bool] = {
        switch: getattr(spec, switch) and exists for switch, exists in stored.items()
    }
    return replace(spec, **switches)


def _list_matrices(checkpoint: StateDict, spec: Spec) -> Iterator[_Matrix]:
    """The matrices of the file that lie differently in the two layouts."""
    d, h, e, m = spec.d_model, spec.n_heads, spec.d_head, spec.d_mlp or 0

    def swap_axes(tensor: Any) -> Any:
        return tensor.transpose(-1, -2)

    def split_heads(tensor: Any) -> Any:
        return tensor.reshape(d, h, e).permute(1, 2, 0)

    table: list[tuple[str, tuple[int, ...], tuple[int, ...], Callable[[Any], Any]]] = [
        ("embed.W_E", (spec.d_vocab, d), (d, spec.d_vocab), swap_axes),
        *((f"blocks.{{i}}.attn.W_{x}", (h, d, e), (h, e, d), swap_axes) for x in "QKV"),
        ("blocks.{i}.attn.W_O", (h, e, d), (d, h * e), split_heads),
        *((f"blocks.{{i}}.mlp.W_{x}", (d, m), (m, d), swap_axes) for x in ("in", "gate")),
        ("blocks.{i}.mlp.W_out", (m, d), (d, m), swap_axes),
    ]
    for pattern, shape, transposed, turn in table:
        names = dict.fromkeys(pattern.format(i=layer) for layer in range(spec.n_layers))
        if tensors := tuple(name for name in names if name in checkpoint.shapes):
            yield _Matrix(tensors, shape, transposed, turn)


def _describe_squares(checkpoint: StateDict, square: list[_Matrix]) -> str:
    tensors = [tensor for matrix in square for tensor in matrix.tensors]
    return list_problems(
        f"The weights of {checkpoint.name!r} hold square matrices, and nothing says which way "
        'round they lie. Put into the configuration "layout": "transformer_lens" if W_E is [token, '
        'd_model], W_Q [head, d_model, d_head], W_in [d_model, d_mlp], or "layout": "transposed" '
        "if they are the other way round:",
        [f"{tensor} {list(checkpoint.shapes[tensor])}" for tensor in tensors],
    )
