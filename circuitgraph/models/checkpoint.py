"""A checkpoint's tensors, read one at a time: safetensors, torch's .bin, numpy's .npz; one file or
several.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from circuitgraph.errors import DataError, ModelError, first_line, list_problems
from circuitgraph.foreign import read_json
from circuitgraph.models.npz import read_npz_array, read_npz_headers
from circuitgraph.printable import NAME, make_printable, shorten_text
from circuitgraph.torch_files import (
    load_torch_file,
    refuse_packed,
    refuse_unstored,
    torch_to_numpy,
)

WEIGHT_FILES = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)
_WRAPPERS = ("state_dict", "model_state_dict", "model", "module")
_LONGEST_NAME = 255  # bytes of a file's name
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

    def list_files(self) -> dict[Path, list[str]]:
        """The tensors in each file."""
        files = sorted(set(self._files.values()))
        return {file: [t for t, own in self._files.items() if own == file] for file in files}

    def read_tensor(self, tensor: str) -> Any:
        """One tensor, as torch has it; not of an .npz file."""
        path = self._files[tensor]
        if path.suffix != ".safetensors":
            return self._torch_files[path][tensor]
        return self._open_safetensors(tensor, "pt")

    def read_array(self, tensor: str) -> np.ndarray:
        """One tensor, as numpy has it; safetensors and .npz files are read without torch."""
        return self.read_part(tensor, ())

    def read_part(self, tensor: str, index: tuple[int | slice, ...]) -> np.ndarray:
        """A part of one tensor, as numpy has it; of a safetensors file only that part is read."""
        path = self._files[tensor]
        if path.suffix == ".npz":
            return read_npz_array(path, tensor)[index]
        if path.suffix != ".safetensors":
            return torch_to_numpy(self.read_tensor(tensor)[index])
        return self._open_safetensors(tensor, "np", index)

    def _open_safetensors(
        self, tensor: str, framework: str, index: tuple[int | slice, ...] = ()
    ) -> Any:
        """One tensor of a safetensors file, or a part of it; the file is opened anew each time.

        Closing the file unmaps the tensor's pages, so that they do not pile up in memory beside the
        arrays made of them.
        """
        from safetensors import safe_open

        with safe_open(self._files[tensor], framework=framework) as file:
            return file.get_slice(tensor)[index] if index else file.get_tensor(tensor)


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
        elif path.suffix == ".npz":
            _refuse_packed(name, path)
            shapes, dtypes = read_npz_headers(name, path)
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

    subject = _name_file(name, path)
    try:
        content = load_torch_file(path, subject, SAVE_AGAIN)
    except DataError as error:
        raise ModelError(str(error)) from error
    if not isinstance(content, Mapping):
        raise ModelError(f"{subject} holds a {type(content).__name__}, not a state dict.")
    inner = unwrap_state_dict(content)
    tensors = {str(key): value for key, value in inner.items() if isinstance(value, torch.Tensor)}
    if not tensors:
        raise ModelError(
            f"{subject} holds no tensors. It holds: "
            f"{make_printable(', '.join(map(str, inner)), NAME) or 'nothing'}."
        )
    try:
        refuse_unstored(tensors, subject)
    except DataError as error:
        raise ModelError(str(error)) from error
    return tensors


def _refuse_packed(name: str, path: Path) -> None:
    try:
        refuse_packed(path, _name_file(name, path), SAVE_AGAIN)
    except DataError as error:
        raise ModelError(str(error)) from error


def _name_file(name: str, path: Path) -> str:
    return f"The file {path.name} of {name!r}"


def unwrap_state_dict(content: Mapping[Any, Any]) -> Mapping[Any, Any]:
    """The state dict that training code saved beside an optimizer's state and the like."""
    for _ in _WRAPPERS:  # one within the other at most: a pickle may hold itself
        wrapped = [content[key] for key in _WRAPPERS if isinstance(content.get(key), Mapping)]
        if not wrapped:
            break
        content = wrapped[0]
    return content


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
    if long := [file for file in file_names if len(file.encode()) > _LONGEST_NAME]:
        raise ModelError(
            f"The file {index.name} of {name!r} names a shard of {len(long[0]):,} letters, "
            f"{shorten_text(long[0], NAME)!r}: no file has such a name. {SAVE_AGAIN}"
        )
    return [index.parent / file for file in sorted(set(file_names))]
