"""From a name to a running model: a local folder, a shipped model, or a name on the Hugging Face
hub.

All three are ordinary Hugging Face checkpoints and take the same way: transformers reads the
configuration, the
family's file refuses or understands it and says where the tensors are, and they go to jax one by
one.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax

from circuitgraph.errors import ModelError, first_line, unknown_name
from circuitgraph.models.assemble import assemble, check_dtype
from circuitgraph.models.checkpoint import AGAIN, WEIGHT_FILES, open_checkpoint, shards
from circuitgraph.models.constructed.programs import PREFIX, constructed
from circuitgraph.models.families import families
from circuitgraph.models.language_model import LanguageModel
from circuitgraph.models.lens import (
    FAMILY,
    SUFFIXES,
    is_state_dict,
    load_transformer_lens,
    state_dict_in,
)
from circuitgraph.models.tokenizer import read_tokenizer

_PACKAGE = Path(__file__).resolve().parent.parent
_GIVE = "Give a folder in Hugging Face layout, a shipped model (circuitgraph list models) or a hub name."


def shipped_models() -> dict[str, Path]:
    """The trained models that come with circuitgraph, by name."""
    roots = [_PACKAGE / "_shipped" / "models", _PACKAGE.parent / "catalog" / "models"]
    root = next((root for root in roots if root.is_dir()), None)
    return (
        {path.parent.name: path.parent for path in sorted(root.glob("*/config.json"))}
        if root
        else {}
    )


def load_model(
    name: str | Path,
    *,
    revision: str | None = None,
    dtype: str = "float32",
    config: str | Path | Mapping[str, Any] | None = None,
    local_only: bool = False,
    trust_remote_code: bool = False,
) -> LanguageModel:
    """Load a model.

    Args:
        name: a folder in Hugging Face layout, a shipped model (``circuitgraph list models``), a hub
            name, the state dict of a TransformerLens model (``.pt``, ``.pth``, ``.safetensors``),
            or ``constructed:PROGRAM``.
        revision: branch, tag or commit on the hub.
        dtype: precision to run in, whatever the files have: float32, bfloat16, float16 or float64.
        config: of a TransformerLens model: its fields, or a JSON file of them; by default the JSON
            beside the weights.
        local_only: use what the hub's cache holds, without asking the network.
        trust_remote_code: let the checkpoint's own Python code read its configuration and
            tokenizer. What runs the model is always ours.

    Raises:
        ModelError: not found, unreadable, incomplete, or with settings that cannot be reproduced
            exactly. Nothing is guessed: a missing tensor or an unknown config field is named and
                refused.
        UnknownNameError: no constructed model of that name.
    """
    name = str(name)
    check_dtype(dtype)
    if name.startswith(PREFIX):
        return _in_dtype(constructed(name).model, dtype)
    if config is not None or is_state_dict(Path(name)):
        return load_transformer_lens(name, config, dtype=dtype)
    where = _locate(name)
    options: dict[str, Any] = {
        "local_files_only": local_only or where != name,
        "revision": revision or "main",
    }
    with quiet_transformers():
        file = _config_file(name, where, options)
        _check_model_type(name, file)
        commit = _commit(where, file)
        if (
            commit is not None
        ):  # of which all files are, even if the hub's branch moves on meanwhile
            options["revision"] = commit
        settings = _read_config(
            name, where, options | {"trust_remote_code": trust_remote_code}
        ).to_dict()
        family = _family(name, settings["model_type"])
        family.check(settings)
        family = family.configured(settings)
        spec = family.spec(settings)
        checkpoint = open_checkpoint(name, _weight_files(name, where, options))
        tokenizer = read_tokenizer(where, options | {"trust_remote_code": trust_remote_code})
    return LanguageModel(
        name=name,
        family=settings["model_type"],
        location=where,
        revision=commit,
        transformer=assemble(spec, family, checkpoint, dtype),
        tokenizer=tokenizer,
    )


def _in_dtype(model: LanguageModel, dtype: str) -> LanguageModel:
    """The model with its weights rounded to that precision."""
    return replace(
        model, transformer=jax.tree.map(lambda weights: weights.astype(dtype), model.transformer)
    )


def _locate(name: str) -> str:
    """The folder of a local or shipped model, or ``name`` itself for the hub."""
    if not name.strip():
        raise ModelError(f"The model's name is empty. {_GIVE}")
    shipped = shipped_models()
    try:
        path = Path(name).expanduser()
        exists, is_folder = path.exists(), path.is_dir()
    except (OSError, RuntimeError) as error:  # a name too long, somebody's home that is not here
        raise ModelError(f"{name!r} cannot be looked up: {first_line(error)}. {_GIVE}") from error
    has_config = is_folder and (path / "config.json").is_file()
    if name in shipped and not has_config:
        return str(shipped[name])
    if is_folder:
        if not has_config:
            raise ModelError(
                f"The folder {name!r} has no config.json: it is not a Hugging Face "
                f"checkpoint.{_instead(path)} {_GIVE}"
            )
        if not any((path / file).is_file() for file in WEIGHT_FILES):
            found = sorted(file.name for file in path.glob("*.gguf"))
            quantised = (
                f" {found[0]} is a GGUF file, which holds rounded weights and is not read."
                if found
                else ""
            )
            raise ModelError(
                f"The folder {name!r} has no weights. Expected one of "
                f"{', '.join(WEIGHT_FILES)}.{quantised}{_instead(path)}"
            )
        return str(path)
    if path.suffix == ".gguf":
        raise ModelError(
            f"{name!r} is a GGUF file: its weights are rounded, and it is not read. {_GIVE}"
        )
    if exists:
        raise ModelError(
            f"{name!r} is a file. Give the folder that holds it, if that is a Hugging Face "
            "checkpoint."
        )
    if name.startswith((".", "/", "~")) or name.count("/") > 1:
        raise ModelError(
            f"There is no {'file' if path.suffix in SUFFIXES else 'folder'} {name!r}. {_GIVE}"
        )
    return name


def _instead(folder: Path) -> str:
    """What to give where a folder is no Hugging Face checkpoint but holds one of TransformerLens."""
    found = state_dict_in(folder)
    return (
        f" To load the TransformerLens model in it, give its state dict: {str(found)!r}."
        if found
        else ""
    )


def _read_config(name: str, where: str, options: dict[str, Any]) -> Any:
    from transformers import AutoConfig

    try:
        return AutoConfig.from_pretrained(where, **options)
    except Exception as error:
        raise ModelError(
            f"The config.json of {name!r} cannot be used: {first_line(error)}"
        ) from error


def _config_file(name: str, where: str, options: dict[str, Any]) -> Path:
    """config.json in the folder, or in the hub's cache once it has been fetched."""
    from transformers.utils.hub import cached_file

    try:
        return Path(str(cached_file(where, "config.json", **options)))
    except Exception as error:
        asked = "" if options["revision"] == "main" else f" at revision {options['revision']!r}"
        hint = f"It is no folder here, and the hub did not provide it{asked}: {first_line(error)}. {_GIVE}"
        raise ModelError(str(unknown_name("model", name, shipped_models(), hint))) from error


def _check_model_type(name: str, path: Path) -> None:
    """Say which part of a config.json is wrong before transformers says something longer, or asks
    to run its code.
    """
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(
            f"The config.json of {name!r} is not readable JSON: {first_line(error)}. {AGAIN}"
        ) from error
    if not isinstance(settings, dict) or "model_type" not in settings:
        raise ModelError(
            f"The config.json of {name!r} has no 'model_type'.{_instead(path.parent)} {AGAIN}"
        )
    _family(name, settings["model_type"])


def _family(name: str, model_type: Any) -> Any:
    supported = [
        known for known in families.names() if known != FAMILY
    ]  # whose checkpoints are files, not folders
    if not isinstance(model_type, str) or model_type not in supported:
        known = ", ".join(supported)
        raise ModelError(
            f"{name!r} is of the architecture {model_type!r}, which is not supported. Supported: "
            f"{known}."
        )
    return families[model_type]


def _weight_files(name: str, where: str, options: dict[str, Any]) -> list[Path]:
    """The files that hold the weights: one, or the shards that an index names; fetched from the hub
    if need be.
    """
    from transformers.utils.hub import cached_file

    for file in WEIGHT_FILES:
        found = cached_file(where, file, _raise_exceptions_for_missing_entries=False, **options)
        if found is None:
            continue
        if not file.endswith(".index.json"):
            return [Path(found)]
        listed = shards(name, Path(found))
        if Path(where).is_dir():
            return listed
        return [_shard(name, where, path.name, options) for path in listed]
    raise ModelError(f"{name!r} has no weights. Expected one of {', '.join(WEIGHT_FILES)}.")


def _shard(name: str, where: str, file: str, options: dict[str, Any]) -> Path:
    """One shard in the hub's cache, fetched if need be."""
    from transformers.utils.hub import cached_file

    try:
        return Path(str(cached_file(where, file, **options)))
    except Exception as error:
        raise ModelError(
            f"The weights of {name!r} are incomplete: the hub did not provide {file}: "
            f"{first_line(error)}. {AGAIN}"
        ) from error


def _commit(where: str, file: Path) -> str | None:
    """The hub's commit that a file in its cache is of; None for a folder."""
    from transformers.utils.hub import extract_commit_hash

    return None if Path(where).is_dir() else extract_commit_hash(str(file), None)


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Our own checks replace transformers' warnings and bars for the time of loading."""
    from huggingface_hub.utils import (
        are_progress_bars_disabled,
        disable_progress_bars,
        enable_progress_bars,
    )
    from transformers.utils import logging

    verbosity, bars, no_hub_bars = (
        logging.get_verbosity(),
        logging.is_progress_bar_enabled(),
        are_progress_bars_disabled(),
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.set_verbosity_error()
        logging.disable_progress_bar()  # which disables the hub's too: downloads are long, so they keep theirs
        (disable_progress_bars if no_hub_bars else enable_progress_bars)()
        try:
            yield
        finally:
            logging.set_verbosity(verbosity)
            if bars:
                logging.enable_progress_bar()
            (disable_progress_bars if no_hub_bars else enable_progress_bars)()
