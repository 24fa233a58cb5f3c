"""What a GGUF file says of itself: its metadata, and where each tensor lies.

The layout is that of the GGUF specification, versions 2 and 3, little-endian. Every size is held
against the size of the file before anything of that size is read.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from circuitgraph.errors import MissingExtraError, ModelError, first_line
from circuitgraph.models.checkpoint import SAVE_AGAIN

SUFFIX = ".gguf"
_MAGIC = b"GGUF"
_VERSIONS = (2, 3)
_ALIGNMENT = 32  # where general.alignment says nothing
_MOST_AXES = 4
_MOST_STRINGS = 2**22  # of one list: several times the largest vocabulary or list of merges

# Types of metadata, by their number in the file.
_SCALARS = {
    0: "<u1",
    1: "<i1",
    2: "<u2",
    3: "<i2",
    4: "<u4",
    5: "<i4",
    6: "<f4",
    7: "?",
    10: "<u8",
    11: "<i8",
    12: "<f8",
}
_STRING, _LIST = 8, 9


@dataclass(frozen=True)
class StoredTensor:
    """Where one tensor lies in the file.

    Attributes:
        shape: as torch has it; the file lists the axes the other way round.
        kind: ``gguf.GGMLQuantizationType``: how the numbers are rounded.
        start, n_bytes: of its bytes, from the file's beginning.
    """

    shape: tuple[int, ...]
    kind: Any
    start: int
    n_bytes: int


@dataclass(frozen=True)
class GgufHeader:
    """A GGUF file without its numbers.

    Attributes:
        metadata: numbers, texts, lists of texts, and numpy arrays of numbers.
    """

    name: str
    path: Path
    metadata: Mapping[str, Any]
    tensors: Mapping[str, StoredTensor]


def import_gguf(module: str) -> Any:
    """A module of the gguf package.

    Raises:
        MissingExtraError: the package is not installed.
    """
    try:
        return import_module(f"gguf.{module}")
    except ImportError as error:
        raise MissingExtraError(
            "GGUF files are read with the gguf package, which is not installed: "
            "pip install 'circuitgraph-interp[gguf]'"
        ) from error


def read_header(name: str, path: Path) -> GgufHeader:
    """The metadata of a GGUF file and the places of its tensors.

    Raises:
        ModelError: the file is truncated, is no GGUF file, or describes tensors that it does not
            hold.
    """
    constants = import_gguf("constants")
    try:
        cursor = _Cursor(path)
        n_tensors, n_fields = cursor.read_counts()
        metadata: dict[str, Any] = {}
        for _ in range(n_fields):
            key = cursor.read_text()
            if key in metadata:
                raise ValueError(f"it has two fields {key!r}")
            metadata[key] = cursor.read_value(cursor.read_number("<u4"))
        tensors = cursor.read_tensors(n_tensors, metadata.get("general.alignment"), constants)
    except (OSError, ValueError) as error:
        raise ModelError(
            f"{name!r} is truncated or is no GGUF file: {first_line(error)}. {SAVE_AGAIN}"
        ) from error
    return GgufHeader(name, path, metadata, tensors)


class _Cursor:
    """A place in the file, from which values are read one after the other.

    Whatever does not fit the file raises `ValueError`.
    """

    def __init__(self, path: Path) -> None:
        self._bytes = np.memmap(path, np.uint8, "r").data
        self._place = 0

    def _take(self, n_bytes: int) -> memoryview:
        if n_bytes > len(self._bytes) - self._place:
            raise ValueError(
                f"at byte {self._place} of {len(self._bytes)} it announces {n_bytes} bytes more"
            )
        start, self._place = self._place, self._place + n_bytes
        return self._bytes[start : self._place]

    def read_number(self, dtype: str) -> Any:
        return self._read_numbers(dtype, 1)[0].item()

    def _read_numbers(self, dtype: str, count: int) -> np.ndarray:
        return np.frombuffer(self._take(count * np.dtype(dtype).itemsize), dtype)

    def read_text(self) -> str:
        (length,) = struct.unpack("<Q", self._take(8))
        return str(self._take(length), "utf-8")

    def read_counts(self) -> tuple[int, int]:
        """How many tensors and fields the file says that it has."""
        if bytes(self._take(4)) != _MAGIC:
            raise ValueError("it does not begin with GGUF")
        version = self.read_number("<u4")
        if version not in _VERSIONS:
            raise ValueError(
                f"it is of version {version:#x}; read are the versions 2 and 3, little-endian"
            )
        return self.read_number("<u8"), self.read_number("<u8")

    def read_value(self, kind: int) -> Any:
        if kind in _SCALARS:
            value = self._read_numbers(_SCALARS[kind], 1)[0]
            # The shortest number that is the same in float32: 1e-5, not 9.99999975e-06.
            return float(str(value)) if kind == 6 else value.item()
        if kind == _STRING:
            return self.read_text()
        if kind != _LIST:
            raise ValueError(f"it has metadata of the type {kind}, which is not known")
        item, count = self.read_number("<u4"), self.read_number("<u8")
        if item in _SCALARS:
            return self._read_numbers(_SCALARS[item], count).copy()
        if item != _STRING or count > _MOST_STRINGS:
            raise ValueError(f"it has a list of {count} values of the type {item}")
        return [self.read_text() for _ in range(count)]

    def read_tensors(self, count: int, alignment: Any, constants: Any) -> dict[str, StoredTensor]:
        """The table of tensors, whose bytes must lie in the file, each by itself."""
        if alignment is None:
            alignment = _ALIGNMENT
        if not isinstance(alignment, int) or alignment < 1 or alignment & (alignment - 1):
            raise ValueError(f"general.alignment is {alignment!r}, no power of two")
        tensors: dict[str, StoredTensor] = {}
        for _ in range(count):
            tensor = self.read_text()
            if tensor in tensors:
                raise ValueError(f"it has two tensors {tensor!r}")
            tensors[tensor] = self._read_place(tensor, constants)
        first = -(-self._place // alignment) * alignment
        placed = {
            tensor: StoredTensor(at.shape, at.kind, at.start + first, at.n_bytes)
            for tensor, at in tensors.items()
        }
        end = 0
        for tensor, at in sorted(placed.items(), key=lambda item: item[1].start):
            if at.start < end or at.start + at.n_bytes > len(self._bytes):
                raise ValueError(f"the bytes of {tensor!r} lie beyond its end or in another tensor")
            end = at.start + at.n_bytes
        return placed

    def _read_place(self, tensor: str, constants: Any) -> StoredTensor:
        n_axes = self.read_number("<u4")
        if n_axes > _MOST_AXES:
            raise ValueError(f"{tensor!r} has {n_axes} axes; at most {_MOST_AXES} are possible")
        shape = tuple(self._read_numbers("<u8", n_axes).tolist()[::-1])
        number, start = self.read_number("<u4"), self.read_number("<u8")
        kind = constants.GGMLQuantizationType(number)
        block_size, block_bytes = constants.GGML_QUANT_SIZES[kind]  # of every kind there is
        if 0 in shape or (shape or (1,))[-1] % block_size:
            raise ValueError(
                f"{tensor!r} of the shape {list(shape)} cannot be made of {kind.name} blocks"
            )
        return StoredTensor(shape, kind, start, math.prod(shape) // block_size * block_bytes)
