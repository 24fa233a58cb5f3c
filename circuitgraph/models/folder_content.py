"""What a folder holds that cannot be loaded as it is, and what to do about it."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from circuitgraph.foreign import LARGEST_CONFIG, read_json
from circuitgraph.models.checkpoint import WEIGHT_FILES
from circuitgraph.models.gguf.loading import is_gguf
from circuitgraph.models.transformer_lens_checkpoint import find_state_dict

ADAPTER_FILE = "adapter_config.json"
MERGE = "(in peft: model.merge_and_unload()) and save the result"
_N_LISTED = 8  # names of files in a message


def suggest_content(folder: Path) -> str:
    """A sentence on what is in a folder without a checkpoint in Hugging Face layout."""
    if gguf_file := min(filter(is_gguf, folder.iterdir()), default=None):
        return f" To load the GGUF model in it, give its file: {str(gguf_file)!r}."
    if state_dict := find_state_dict(folder):
        return (
            f" To load the TransformerLens model in it, give its state dict: {str(state_dict)!r}."
        )
    if (folder / ADAPTER_FILE).is_file():
        return (
            f" It holds an adapter ({ADAPTER_FILE}) of {_read_base(folder)}, which is no model by "
            f"itself: merge both {MERGE}."
        )
    inner = [path for path in sorted(folder.iterdir()) if _is_checkpoint(path)]
    if inner:  # as a trainer leaves them; the last one by number, not by name
        last = max(inner, key=lambda path: (len(path.name), path.name))
        return f" It holds {len(inner)} checkpoints in folders of their own: give {str(last)!r}."
    names = sorted(path.name for path in folder.iterdir())
    more = f" and {len(names) - _N_LISTED} more" if len(names) > _N_LISTED else ""
    return f" It holds {', '.join(names[:_N_LISTED]) or 'nothing'}{more}."


def _is_checkpoint(path: Path) -> bool:
    has_weights = any((path / file).is_file() for file in WEIGHT_FILES)
    return has_weights and (path / "config.json").is_file()


def _read_base(folder: Path) -> str:
    """The model that an adapter changes, as the adapter's configuration names it."""
    with suppress(OSError, ValueError, AttributeError):
        settings = read_json(folder / ADAPTER_FILE, LARGEST_CONFIG)
        if name := settings.get("base_model_name_or_path"):
            return repr(name)
    return "another model"
