"""A checkpoint's tensors, read one at a time: safetensors or torch's .bin, one file or shards."""

from __future__ import annotations

import pickle
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

from circuitgraph.errors import ModelError, first_line, list_problems
from circuitgraph.foreign import read_json

WEIGHT_FILES = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)
_WRAPPERS = ("state_dict", "model_state_dict", "model", "module")
SAVE_AGAIN = "Download or save the checkpoint again."


@dataclass
class Checkpoint:
    """Where each tensor of a checkpoint lies, and how large it is.

    Attributes:
        shapes: of each tensor, by the name it has in the files.
        dtypes: of each tensor, as torch calls them.
        described_by: what says which tensors there must be.
    """

    name: str
    shapes: dict[str, tuple[int, ...]]
    dtypes: dict[str, str]
    _files: dict[str, Path]
    _torch_files: dict[Path, Mapping[str, Any]] = field(default_factory=dict)
    described_by: str = "config.json"

    def read_tensor(self, tensor: str) -> Any:
        """One tensor, as torch has it."""
        path = self._files[tensor]
        if path.suffix != ".safetensors":
            return self._torch_files[path][tensor]
        return self._open_safetensors(tensor, "pt")

    def read_array(self, tensor: str) -> np.ndarray:
        """One tensor, as numpy has it; a safetensors file is read without torch."""
        if self._files[tensor].suffix != ".safetensors":
            return torch_to_numpy(self.read_tensor(tensor))
        return self._open_safetensors(tensor, "np")

    def _open_safetensors(self, tensor: str, framework: str) -> Any:
        """One tensor of a safetensors file, which is opened anew each time.

        Closing the file unmaps the tensor's pages, so that they do not pile up in memory beside the
        arrays made of them.
        """
        from safetensors import safe_open

        with safe_open(self._files[tensor], framework=framework) as file:
            return file.get_tensor(tensor)


def open_checkpoint(name: str, files: Iterable[Path]) -> Checkpoint:
    """The tensors of these files.

    Raises:
        ModelError: a file is truncated, is no such file at all, or would run code when read; names
            the file.
    """
    checkpoint = Checkpoint(name, {}, {}, {})
    for path in files:
        if not path.is_file():
            raise ModelError(
                f"The weights of {name!r} are incomplete: there is no file {path.name}. "
                f"{SAVE_AGAIN}"
            )
        if path.suffix == ".safetensors":
            headers = _read_safetensors_headers(name, path)
            shapes = {tensor: header.get_shape() for tensor, header in headers.items()}
            dtypes = {tensor: header.get_dtype() for tensor, header in headers.items()}
        else:
            tensors = checkpoint._torch_files[path] = _read_torch_file(name, path)
            shapes = {tensor: value.shape for tensor, value in tensors.items()}
            dtypes = {tensor: value.dtype for tensor, value in tensors.items()}
        for tensor, shape in shapes.items():
            checkpoint.shapes[tensor] = tuple(shape)
            checkpoint.dtypes[tensor] = dtype_name(dtypes[tensor])
            checkpoint._files[tensor] = path
    return checkpoint


def _read_safetensors_headers(name: str, path: Path) -> Mapping[str, Any]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="np") as file:
            return {tensor: file.get_slice(tensor) for tensor in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise ModelError(
            f"The file {path.name} of {name!r} is truncated or is no safetensors file: "
            f"{first_line(error)}. {SAVE_AGAIN}"
        ) from error


def _read_torch_file(name: str, path: Path) -> Mapping[str, Any]:
    """The state dict in a file that torch saved.

    It is read weights-only, so that no code in the file can run.
    """
    import torch

    try:
        try:
            content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        except (RuntimeError, ValueError):  # files of before torch 1.6 cannot be mapped
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ModelError(
            f"The file {path.name} of {name!r} is a pickle that is broken or would run code when "
            "read, so it is refused. Save them as safetensors where they come from."
        ) from error
    except Exception as error:
        raise ModelError(
            f"The file {path.name} of {name!r} cannot be read: {first_line(error)}. {SAVE_AGAIN}"
        ) from error
    if not isinstance(content, Mapping):
        raise ModelError(
            f"The file {path.name} of {name!r} holds a {type(content).__name__}, not a state dict."
        )
    inner = unwrap_state_dict(content)
    tensors = {str(key): value for key, value in inner.items() if isinstance(value, torch.Tensor)}
    if not tensors:
        raise ModelError(
            f"The file {path.name} of {name!r} holds no tensors. It holds: "
            f"{', '.join(map(str, inner)) or 'nothing'}."
        )
    return tensors


def unwrap_state_dict(content: Mapping[Any, Any]) -> Mapping[Any, Any]:
    """The state dict that training code saved beside an optimizer's state and the like."""
    wrapped = [content[key] for key in _WRAPPERS if isinstance(content.get(key), Mapping)]
    return unwrap_state_dict(wrapped[0]) if wrapped else content


def torch_to_numpy(tensor: Any) -> np.ndarray:
    """A torch tensor as numpy has it, bfloat16 included; the same memory where possible."""
    import torch

    if tensor.dtype == torch.bfloat16:  # which numpy itself does not know
        return tensor.view(torch.int16).numpy(force=True).view(ml_dtypes.bfloat16)
    return tensor.numpy(force=True)


_SAFE_DTYPES = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}


def dtype_name(dtype: Any) -> str:
    """The name of a safetensors or torch dtype, as torch calls it."""
    return _SAFE_DTYPES.get(str(dtype), str(dtype).removeprefix("torch."))


def list_shards(name: str, index: Path) -> list[Path]:
    """The files that an index names, all in its folder.

    Raises:
        ModelError: the index is not readable, or names a file outside its folder.
    """
    try:
        file_names = list(read_json(index)["weight_map"].values())
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(
            f"The file {index.name} of {name!r} is no index of shards: {first_line(error)}."
        ) from error
    if not file_names:
        raise ModelError(
            f"The file {index.name} of {name!r} is no index of shards: it names none. {SAVE_AGAIN}"
        )
    if bad := [file for file in file_names if not isinstance(file, str) or Path(file).name != file]:
        problems = sorted({str(file) for file in bad})
        raise ModelError(
            list_problems(
                f"The file {index.name} of {name!r} names files that are no shards:", problems
            )
        )
    return [index.parent / file for file in sorted(set(file_names))]
