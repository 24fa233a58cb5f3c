"""State dicts: tensors that training code saved in one file, by the names of its own modules."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from circuitgraph.errors import ModelError
from circuitgraph.models.checkpoint import (
    Checkpoint,
    dtype_name,
    open_checkpoint,
    unwrap_state_dict,
)
from circuitgraph.torch_files import torch_to_numpy


@dataclass
class StateDict(Checkpoint):
    """A checkpoint with tensors in memory: all of a torch file, and those that we make."""

    in_memory: dict[str, Any] = field(default_factory=dict)

    def read_tensor(self, tensor: str) -> Any:
        """One tensor, as torch has it."""
        return self.in_memory[tensor] if tensor in self.in_memory else super().read_tensor(tensor)

    def read_array(self, tensor: str) -> np.ndarray:
        """One tensor, as numpy has it."""
        if tensor in self.in_memory:
            return torch_to_numpy(self.in_memory[tensor])
        return super().read_array(tensor)

    def set_tensor(self, tensor: str, value: Any) -> None:
        """Add or replace a tensor."""
        self.in_memory[tensor] = value
        self.shapes[tensor] = tuple(value.shape)
        self.dtypes[tensor] = dtype_name(value.dtype)

    def rename_tensor(self, old: str, new: str) -> None:
        """Give a tensor another name.

        Raises:
            ModelError: there already is a tensor of that name.
        """
        if new in self.shapes:
            raise ModelError(
                f"The weights of {self.name!r} hold both {old} and {new}, which are two names of "
                "one tensor. Remove one."
            )
        self.set_tensor(new, self.read_tensor(old))
        for content in (self.in_memory, self.shapes, self.dtypes):
            content.pop(old, None)


def open_state_dict(name: str, path: Path) -> StateDict:
    """The tensors of a file, without the wrapper that some files have around them.

    Raises:
        ModelError: the file is no state dict, or would run code when read.
    """
    import torch

    checkpoint = open_checkpoint(name, [path])  # which refuses pickles that would run code
    if path.suffix == ".safetensors":
        return StateDict(**vars(checkpoint))
    content = torch.load(path, map_location="cpu", weights_only=True)
    content = unwrap_state_dict(content)
    tensors = {str(key): value for key, value in content.items() if isinstance(value, torch.Tensor)}
    # A training loop may have saved a module that holds the model.
    if tensors and all(key.startswith("model.") for key in tensors):
        tensors = {key.removeprefix("model."): value for key, value in tensors.items()}
    state_dict = StateDict(name, {}, {}, {})
    for key, value in tensors.items():
        state_dict.set_tensor(key, value)
    return state_dict
