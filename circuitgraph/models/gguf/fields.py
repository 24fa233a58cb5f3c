"""The metadata of a GGUF file's architecture, read key by key, so that no key is overlooked."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from circuitgraph.errors import ModelError
from circuitgraph.models.gguf.checkpoint import read_numbers
from circuitgraph.models.gguf.header import GgufHeader

_REQUIRED = object()


class Fields:
    """The keys that begin with the architecture's name, and the tensors that are settings.

    Attributes:
        tensors: names of the tensors that were read here.
    """

    def __init__(self, header: GgufHeader, architecture: str) -> None:
        self.header = header
        self.architecture = architecture
        self.tensors: set[str] = set()
        self._keys: set[str] = set()

    def take(self, key: str, default: Any = _REQUIRED) -> Any:
        """The value of a key; one that is the same in all layers may be listed layer by layer.

        Raises:
            ModelError: the key is missing and has no default, or differs from layer to layer.
        """
        full = f"{self.architecture}.{key}"
        self._keys.add(full)
        value = self.header.metadata.get(full, default)
        if value is _REQUIRED:
            raise ModelError(f"{self.header.name!r} has no setting {full}.")
        if isinstance(value, np.ndarray):
            if len(np.unique(value)) != 1:
                raise ModelError(
                    f"{self.header.name!r} has a setting that is not the same in all layers, "
                    f"{full} = {value.tolist()}; that is not implemented."
                )
            return value[0].item()
        return value

    def take_size(self, key: str, default: Any = _REQUIRED) -> int:
        """A whole number of at least 1."""
        value = self.take(key, default)
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ModelError(self._describe(key, value, "a whole number of at least 1"))
        return value

    def take_number(self, key: str, default: Any = _REQUIRED) -> float:
        """A number that is not negative."""
        value = self.take(key, default)
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if not is_number or not math.isfinite(value) or value < 0:
            raise ModelError(self._describe(key, value, "a number that is not negative"))
        return float(value)

    def require(self, key: str, expected: Any) -> None:
        """Refuse any other value than the one that is implemented; a missing key is right."""
        value = self.take(key, expected)
        if value != expected:
            raise ModelError(self._describe(key, value, repr(expected)))

    def has_tensor(self, part: str) -> bool:
        """Whether the first layer has a tensor of this name."""
        return f"blk.0.{part}" in self.header.tensors

    def take_tensor(self, name: str) -> np.ndarray | None:
        """The numbers of a tensor that is a setting; None if the file has no such tensor."""
        place = self.header.tensors.get(name)
        if place is None:
            return None
        self.tensors.add(name)
        return read_numbers(self.header, place)

    def list_unread(self) -> list[str]:
        """The keys of the architecture that nothing has read, with their values."""
        own = f"{self.architecture}."
        return [
            f"{key} = {value!r}"
            for key, value in self.header.metadata.items()
            if key.startswith(own) and key not in self._keys
        ]

    def _describe(self, key: str, value: Any, expected: str) -> str:
        return (
            f"{self.header.name!r} has {self.architecture}.{key} = {value!r}; expected is "
            f"{expected}."
        )
