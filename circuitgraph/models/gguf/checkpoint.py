"""The tensors of a GGUF file, under the names and in the layout of a Hugging Face checkpoint."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from circuitgraph.errors import ModelError, list_problems
from circuitgraph.models.checkpoint import Checkpoint
from circuitgraph.models.families import Family
from circuitgraph.models.gguf.header import GgufHeader, StoredTensor, import_gguf
from circuitgraph.models.parameters import Rows

Undo = Callable[[np.ndarray], np.ndarray]


@dataclass
class GgufCheckpoint(Checkpoint):
    """A checkpoint whose tensors lie in a GGUF file."""

    header: GgufHeader | None = None
    places: dict[str, StoredTensor] = field(default_factory=dict)
    undo: dict[str, Undo] = field(default_factory=dict)

    def read_array(self, tensor: str) -> np.ndarray:
        """One tensor in float32.

        The file is mapped anew each time, as safetensors files are.
        """
        assert self.header is not None  # noqa: S101
        array = read_numbers(self.header, self.places[tensor])
        return self.undo[tensor](array) if tensor in self.undo else array


def read_numbers(header: GgufHeader, place: StoredTensor) -> np.ndarray:
    """The numbers of one tensor, in float32."""
    stored = np.memmap(header.path, np.uint8, "r", offset=place.start, shape=(place.n_bytes,))
    rows = stored.reshape(*place.shape[:-1], -1)
    return import_gguf("quants").dequantize(rows, place.kind)


def open_gguf_checkpoint(
    header: GgufHeader, family: Family, settings: Mapping[str, Any], read: frozenset[str]
) -> GgufCheckpoint:
    """The checkpoint in a GGUF file.

    Args:
        settings: of the model, as `read_settings` gives them.
        read: names of tensors whose content is in the settings.

    Raises:
        ModelError: tensors that nothing is known of, or rounded in a way that the gguf package
            cannot undo; all are listed.
    """
    architecture = header.metadata["general.architecture"]
    names = map_names(architecture, family, settings["num_hidden_layers"])
    tensors = {tensor: at for tensor, at in header.tensors.items() if tensor not in read}
    problems = [f"unknown tensor: {tensor}" for tensor in sorted(tensors.keys() - names.keys())]
    problems += [
        f"{tensor} is {at.kind.name}, which the gguf package does not read"
        for tensor, at in sorted(tensors.items())
        if not _can_read(at.kind)
    ]
    if problems:
        raise ModelError(
            list_problems(f"{header.name!r} holds what no {architecture} is made of:", problems)
        )
    places = {names[tensor]: at for tensor, at in tensors.items()}
    return GgufCheckpoint(
        name=header.name,
        shapes={name: at.shape for name, at in places.items()},
        dtypes=dict.fromkeys(places, "float32"),
        _files={},
        described_by="metadata",
        header=header,
        places=places,
        undo=_list_undoing(architecture, settings, places),
    )


def map_names(architecture: str, family: Family, n_layers: int) -> dict[str, str]:
    """The Hugging Face name of each tensor that a GGUF file of this family may have."""
    constants, mapping = import_gguf("constants"), import_gguf("tensor_mapping")
    numbers = {name: number for number, name in constants.MODEL_ARCH_NAMES.items()}
    theirs = mapping.get_tensor_name_map(numbers[architecture], n_layers)
    sources = {name.name if isinstance(name, Rows) else name for name in family.names.values()}
    names: dict[str, str] = {}
    for source in sources:
        for layer in range(n_layers if "{i}" in source else 1):
            ours = source.format(i=layer)
            full = ours if ours == "lm_head" else f"model.{ours}"
            if (stored := theirs.get_name(full)) is not None:
                names |= {f"{stored}.{part}": f"{full}.{part}" for part in ("weight", "bias")}
    return names


def _can_read(kind: Any) -> bool:
    """Whether the gguf package turns numbers rounded like this into float32."""
    constants = import_gguf("constants")
    block_bytes = constants.GGML_QUANT_SIZES[kind][1]
    try:
        import_gguf("quants").dequantize(np.zeros((1, block_bytes), np.uint8), kind)
    except NotImplementedError:
        return False
    return True


def _list_undoing(
    architecture: str, settings: Mapping[str, Any], names: Mapping[str, Any]
) -> dict[str, Undo]:
    """What llama.cpp's converter did to some tensors, undone."""
    undo: dict[str, Undo] = {}
    heads = {"q_proj": "num_attention_heads", "k_proj": "num_key_value_heads"}
    for name in names:
        part = name.split(".")[-2]
        if architecture == "llama" and part in heads:
            undo[name] = _make_unpermute(settings[heads[part]])
        if architecture.startswith("gemma") and "norm" in part:
            undo[name] = _subtract_one
    return undo


def _make_unpermute(n_heads: int) -> Undo:
    """llama.cpp rotates neighbouring rows of a head, transformers rows half a head apart."""

    def unpermute(rows: np.ndarray) -> np.ndarray:
        pairs = rows.reshape(n_heads, -1, 2, *rows.shape[1:])
        return pairs.swapaxes(1, 2).reshape(rows.shape)

    return unpermute


def _subtract_one(weights: np.ndarray) -> np.ndarray:
    """llama.cpp multiplies with what is stored, Gemma with one more."""
    return weights - np.float32(1)
