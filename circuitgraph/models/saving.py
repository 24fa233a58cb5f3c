"""A model whose weights were changed, written as a Hugging Face checkpoint like the one it was.

The files that the model was read from are copied; of its weights, only those numbers are others
that the model has otherwise. Where a parameter lies in the files is not said a second time: the
numbers' places go through the same steps by which the numbers themselves are read.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from circuitgraph.catalog.folders import check_new_folder, new_folder
from circuitgraph.errors import ModelError, list_problems
from circuitgraph.foreign import LARGEST_CONFIG, read_json
from circuitgraph.models.assemble import copy_numbers
from circuitgraph.models.build import name_arrays
from circuitgraph.models.checkpoint import Checkpoint
from circuitgraph.models.checkpoint_source import DTYPES, CheckpointSource, TensorSlot
from circuitgraph.models.constructed.named_programs import PREFIX
from circuitgraph.models.gguf.loading import is_gguf
from circuitgraph.models.gguf.packages import is_packaged
from circuitgraph.models.language_model import LanguageModel
from circuitgraph.models.loading import OpenedFolder, open_folder
from circuitgraph.models.parameters import Parameter, list_parameters
from circuitgraph.models.spec import Spec
from circuitgraph.models.transformer_lens_checkpoint import FAMILY

_COPIED = {".json", ".txt", ".model", ".jinja", ".py", ".tiktoken"}  # settings and tokenizers
_WEIGHTS, _INDEX = "model.safetensors", "model.safetensors.index.json"
_MARK = {"format": "pt"}  # without which transformers reads no safetensors file

Changes = dict[str, np.ndarray]  # by the tensor's name in the files


def save_model(model: LanguageModel, folder: str | Path) -> list[str]:
    """Write a model as an ordinary checkpoint that transformers and `load_model` load.

    Every number is exactly the model's: a changed tensor keeps the precision of the file where all
    its numbers have one there; where one has none, all tensors are written in the model's
    precision, and ``config.json`` says so.

    Args:
        folder: a new one.

    Returns:
        Names of the tensors that are others than in the checkpoint that the model was read from.

    Raises:
        ModelError: the model is no Hugging Face checkpoint (constructed, GGUF, TransformerLens), or
            its checkpoint is another one by now, or stores two parameters as one that have become
            different.
        OutputError: the folder is there already or cannot be written.
    """
    _refuse_other_layouts(model)
    check_new_folder(folder)
    opened = open_folder(
        model.location,
        revision=model.revision,
        local_only=False,
        trust_remote_code=bool(model.options.get("trust_remote_code")),
        ignored=model.options.get("ignore_config_fields", ()),
    )
    source = CheckpointSource.from_checkpoint(opened.family, opened.checkpoint)
    changes = _find_changes(model, source.share_unembedding(model.spec))
    rounds = any(
        (_round_numbers(tensor, np.dtype(opened.checkpoint.dtypes[name])) != tensor).any()
        for name, tensor in changes.items()
    )
    with new_folder(folder) as inside:
        _write_weights(inside, opened.checkpoint, changes, model.dtype if rounds else None)
        _copy_settings(inside, opened, model.dtype if rounds else None)
    return sorted(changes)


def _refuse_other_layouts(model: LanguageModel) -> None:
    location = model.location
    kinds = {
        "a constructed model": location.startswith(PREFIX),
        "a GGUF file": is_packaged(location) or is_gguf(Path(location)),
        "a TransformerLens state dict": model.family == FAMILY,
    }
    for kind, is_it in kinds.items():
        if is_it:
            raise ModelError(
                f"{model.name!r} is {kind}, of which no Hugging Face checkpoint can be written: "
                "only models that were read from one can be saved. Use the edited model in Python."
            )


def _find_changes(model: LanguageModel, source: CheckpointSource) -> Changes:
    """The tensors in which the model differs from its files, in the model's precision."""
    checkpoint = source.checkpoint
    arrays = {key: np.asarray(array) for key, array in name_arrays(model.transformer).items()}
    changes: Changes = {}
    slots = [
        (slot, parameter, arrays[parameter.key][slot.index])
        for parameter in list_parameters(model.spec)
        for slot in source.list_slots(parameter, model.spec)
    ]
    for slot, parameter, own in slots:
        name = source.stored.get(slot.tensor)
        if name is None or checkpoint.shapes[name] != slot.shape:
            raise ModelError(
                f"The checkpoint {model.location!r} is not the one that {model.name!r} was read "
                f"from: it has no tensor {slot.tensor} of the shape {list(slot.shape)}."
            )
        stored = _round_numbers(source.read_slot(slot, parameter), own.dtype)
        if (stored != own).any():
            if name not in changes:
                changes[name] = _round_numbers(checkpoint.read_array(name), own.dtype)
            changes[name].flat[_find_places(source, slot, parameter)] = own
    _refuse_conflicts(model, source, changes, slots)
    _copy_tied_table(model.spec, source, changes)
    return changes


def _find_places(source: CheckpointSource, slot: TensorSlot, parameter: Parameter) -> np.ndarray:
    """For each number of a slot in our shape its place among the numbers of the file's tensor."""
    shape = source.checkpoint.shapes[source.stored[slot.tensor]]
    return source.convert_stored(np.arange(np.prod(shape)).reshape(shape), slot, parameter)


def _refuse_conflicts(
    model: LanguageModel,
    source: CheckpointSource,
    changes: Mapping[str, np.ndarray],
    slots: list[tuple[TensorSlot, Parameter, np.ndarray]],
) -> None:
    """Refuse what the files store once, and the model has twice by now: one norm of two parts."""
    problems = [
        f"{source.stored[slot.tensor]} is {parameter.key}"
        for slot, parameter, own in slots
        if (changed := changes.get(source.stored[slot.tensor])) is not None
        and (source.convert_stored(changed, slot, parameter) != own).any()
    ]
    if problems:
        title = f"{model.name!r} has two values of what its checkpoint stores once:"
        raise ModelError(list_problems(title, problems))


def _copy_tied_table(spec: Spec, source: CheckpointSource, changes: Changes) -> None:
    """A tied table may be stored under both of its names."""
    names = [source.stored.get(str(source.family.stored_as("embedding.weight")))]
    names.append(source.stored.get(source.unembedding_name))
    if spec.tied and names[0] in changes and names[1] is not None:
        changes[names[1]] = changes[str(names[0])]


def _round_numbers(numbers: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """A copy in another precision, as loading rounds it."""
    rounded = np.empty(numbers.shape, dtype)
    copy_numbers(numbers, rounded)
    return rounded


def _write_weights(
    folder: Path, checkpoint: Checkpoint, changes: Changes, dtype: str | None
) -> None:
    """One file for each file that there was, and an index where there are several."""
    from safetensors.numpy import save_file

    files = checkpoint.list_files()
    several = len(files) > 1
    places: dict[str, str] = {}
    size = 0
    for number, tensors in enumerate(files.values()):
        file = f"model-{number + 1:05}-of-{len(files):05}.safetensors" if several else _WEIGHTS
        arrays = {name: _take_tensor(checkpoint, name, changes, dtype) for name in tensors}
        save_file(arrays, folder / file, metadata=_MARK)
        places |= dict.fromkeys(arrays, file)
        size += sum(array.nbytes for array in arrays.values())
    if several:
        index = {"metadata": {"total_size": size}, "weight_map": places}
        (folder / _INDEX).write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")


def _take_tensor(
    checkpoint: Checkpoint, name: str, changes: Changes, dtype: str | None
) -> np.ndarray:
    """One tensor as it is written: the changed one, or that of the files."""
    stored = changes[name] if name in changes else checkpoint.read_array(name)
    own = checkpoint.dtypes[name]
    if own not in DTYPES:  # a buffer of no real numbers
        return np.ascontiguousarray(stored)
    return _round_numbers(stored, np.dtype(dtype or own))


def _copy_settings(folder: Path, opened: OpenedFolder, dtype: str | None) -> None:
    """Configuration and tokenizer; config.json says the precision if it is another one."""
    for path in opened.config_file.parent.iterdir():
        is_index = path.name.endswith(".index.json")
        if path.is_file() and path.suffix in _COPIED and not is_index:
            shutil.copyfile(path, folder / path.name)
    if dtype is not None:
        config: dict[str, Any] = read_json(opened.config_file, LARGEST_CONFIG)
        config.pop("torch_dtype", None)
        (folder / "config.json").write_text(
            json.dumps({**config, "dtype": dtype}, indent=2) + "\n", encoding="utf-8"
        )
