"""The state of a training on disk, so that it can go on where it stopped."""

from __future__ import annotations

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from circuitgraph.catalog.single_files import write_file
from circuitgraph.errors import ArgumentError, first_line
from circuitgraph.models.dictionaries.training import TrainingState

_MARK = "circuitgraph training of"


def save_training(path: Path, state: TrainingState, description: str) -> None:
    """Write a training's state; ``description`` says what is trained on what."""
    from safetensors.numpy import save

    arrays = {f"{i:04}": np.asarray(leaf) for i, leaf in enumerate(jax.tree.leaves(state))}
    content = save(arrays, metadata={_MARK: description})
    write_file(path, content, is_own=lambda old: _MARK.encode() in old[:10_000])


def load_training(path: Path, start: TrainingState, description: str) -> TrainingState:
    """The state that was saved.

    Args:
        start: the state that the same training starts with.

    Raises:
        ArgumentError: there is none, or it is of another training.
    """
    from safetensors import SafetensorError, safe_open

    leaves, structure = jax.tree.flatten(start)
    try:
        with safe_open(path, framework="np") as file:
            held = (file.metadata() or {}).get(_MARK)
            arrays = [file.get_tensor(name) for name in sorted(file.keys())]
    except (OSError, SafetensorError) as error:
        raise ArgumentError(
            f"There is no training to go on with at {str(path)!r}: {first_line(error)}. Start one "
            "without --resume."
        ) from error
    shapes = [(a.shape, a.dtype) for a in arrays]
    if held != description or shapes != [(leaf.shape, leaf.dtype) for leaf in leaves]:
        raise ArgumentError(
            f"{str(path)!r} is of another training ({held}), not of this one ({description}): use "
            "the same settings, or another folder."
        )
    return jax.tree.unflatten(structure, [jnp.asarray(array) for array in arrays])
