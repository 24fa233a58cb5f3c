"""From a name to a running model: a local folder, a shipped model, or a name on the Hugging Face hub.

All three are ordinary Hugging Face checkpoints and take the same way: transformers reads the configuration and
the weights, the family's file refuses or maps them, torch is dropped.
"""

from __future__ import annotations

import hashlib
import json
import pickle
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np

from circuitgraph.errors import ModelError, first_line, list_problems, unknown_name
from circuitgraph.graph.graph import Graph
from circuitgraph.models.families import Weights, families
from circuitgraph.models.spec import Spec
from circuitgraph.models.tokenizer import Tokenizer, read_tokenizer
from circuitgraph.models.transformer import Transformer

_PACKAGE = Path(__file__).resolve().parent.parent
_WEIGHT_FILES = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)
_GIVE = "Give a folder in Hugging Face layout, a shipped model (circuitgraph list models) or a hub name."
_AGAIN = "Download or save the checkpoint again."


@dataclass(frozen=True)
class LanguageModel:
    """A loaded model: what runs, and what says where it came from.

    Attributes:
        name: as given by the user, or the folder.
        family: the Hugging Face ``model_type``.
        revision: the hub's commit, if it came from there.
        fingerprint: SHA-256 of spec and weights; equal for equal models, however they are stored.
        tokenizer: None if the checkpoint has none.
    """

    name: str
    family: str
    revision: str | None
    transformer: Transformer
    tokenizer: Tokenizer | None
    fingerprint: str

    @property
    def spec(self) -> Spec:
        """Sizes and switches."""
        return self.transformer.spec

    def graph(self, *, direct: bool = False) -> Graph:
        """The model's graph; ``direct`` as in `Graph`."""
        return self.spec.graph(direct=direct)

    @property
    def n_parameters(self) -> int:
        """Number of weights that the forward pass uses."""
        arrays = sum(leaf.size for leaf in jax.tree.leaves(self.transformer))
        return arrays - self.transformer.blocks.attention.scale.size  # which is set, not learned


def shipped_models() -> dict[str, Path]:
    """The trained models that come with circuitgraph, by name."""
    roots = [_PACKAGE / "_shipped" / "models", _PACKAGE.parent / "catalog" / "models"]
    root = next((root for root in roots if root.is_dir()), None)
    return {path.parent.name: path.parent for path in sorted(root.glob("*/config.json"))} if root else {}


def load_model(name: str | Path, *, revision: str | None = None, local_only: bool = False) -> LanguageModel:
    """Load a model in float32.

    Args:
        name: a folder in Hugging Face layout, a shipped model (``circuitgraph list models``) or a hub name.
        revision: branch, tag or commit on the hub.
        local_only: use what the hub's cache holds, without asking the network.

    Raises:
        ModelError: not found, unreadable, incomplete, or with settings that cannot be reproduced exactly.
            Nothing is guessed: a missing tensor or an unknown config field is named and refused.
    """
    name = str(name)
    where = _locate(name)
    options: dict[str, Any] = {
        "local_files_only": local_only or where != name,
        "revision": revision or "main",
    }
    with _quiet_transformers():
        config = _read_config(name, where, options)
        settings = config.to_dict()
        family = _family(name, settings["model_type"])
        family.check(settings)
        spec = family.spec(settings)
        weights = _read_weights(name, where, config, family.buffers, options)
        tokenizer = read_tokenizer(where, options)
        commit = _commit(where, options)
    spec = family.prunable(spec, weights)
    return LanguageModel(
        name=name,
        family=settings["model_type"],
        revision=commit,
        transformer=family.transformer(spec, weights),
        tokenizer=tokenizer,
        fingerprint=_fingerprint(spec, weights),
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
    if is_folder:
        if not (path / "config.json").is_file():
            raise ModelError(f"The folder {name!r} has no config.json: it is not a Hugging Face checkpoint. {_GIVE}")
        if not any((path / file).is_file() for file in _WEIGHT_FILES):
            raise ModelError(f"The folder {name!r} has no weights. Expected one of {', '.join(_WEIGHT_FILES)}.")
        return str(path)
    if name in shipped:
        return str(shipped[name])
    if exists:
        raise ModelError(f"{name!r} is a file. Give the folder that holds it, if that is a Hugging Face checkpoint.")
    if name.startswith((".", "/", "~")) or name.count("/") > 1:
        raise ModelError(f"There is no folder {name!r}. {_GIVE}")
    return name


def _read_config(name: str, where: str, options: dict[str, Any]) -> Any:
    from transformers import AutoConfig

    if where != name or Path(where).is_dir():
        _check_model_type(name, Path(where))
    try:
        return AutoConfig.from_pretrained(where, **options)
    except Exception as error:
        if Path(where).is_dir():
            raise ModelError(f"The config.json of {name!r} cannot be used: {first_line(error)}") from error
        hint = f"It is no folder here, and the hub did not provide it: {first_line(error)}. {_GIVE}"
        raise ModelError(str(unknown_name("model", name, shipped_models(), hint))) from error


def _check_model_type(name: str, folder: Path) -> None:
    """Say which part of a local config.json is wrong before transformers says something longer."""
    try:
        settings = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"The config.json of {name!r} is not readable JSON: {first_line(error)}. {_AGAIN}") from error
    if not isinstance(settings, dict) or "model_type" not in settings:
        raise ModelError(f"The config.json of {name!r} has no 'model_type'. {_AGAIN}")
    _family(name, settings["model_type"])


def _family(name: str, model_type: Any) -> Any:
    if not isinstance(model_type, str) or model_type not in families:
        known = ", ".join(families.names())
        raise ModelError(f"{name!r} is of the architecture {model_type!r}, which is not supported. Supported: {known}.")
    return families[model_type]


def _read_weights(name: str, where: str, config: Any, buffers: str, options: dict[str, Any]) -> Weights:
    """The state dict as transformers' own class holds it, as numpy arrays without a copy.

    ``buffers`` is a pattern of names that a checkpoint may hold beyond the model's own. Sizes that do not match
    are let through to us, because transformers lists them in a log only.
    """
    import torch
    from transformers import AutoModelForCausalLM

    try:
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            where,
            config=config,
            dtype=torch.float32,
            output_loading_info=True,
            ignore_mismatched_sizes=True,
            **options,
        )
    except pickle.UnpicklingError as error:
        raise ModelError(
            f"The weights of {name!r} are a pickle that is broken or would run code when read, so it is refused. "
            "Save them as safetensors where they come from."
        ) from error
    except Exception as error:
        raise ModelError(f"The weights of {name!r} cannot be read: {first_line(error)}. {_AGAIN}") from error
    model, info = loaded
    problems = [f"missing: {key}" for key in sorted(info["missing_keys"])]
    problems += [f"unexpected: {key}" for key in sorted(info["unexpected_keys"]) if not re.search(buffers, key)]
    problems += [
        f"wrong shape: {key} has {list(found)}, but config.json asks for {list(expected)}"
        for key, found, expected in sorted(info["mismatched_keys"])
    ]
    problems += [str(message) for message in info.get("error_msgs") or []]
    weights = {key: tensor.numpy(force=True) for key, tensor in model.state_dict().items()}
    problems += [f"not finite: {key}" for key, value in weights.items() if not np.isfinite(value).all()]
    if problems:
        title = f"The weights of {name!r} are not what its config.json describes. Correct either:"
        raise ModelError(list_problems(title, problems))
    return weights


def _commit(where: str, options: dict[str, Any]) -> str | None:
    """The hub's commit that was read; None for a folder."""
    from transformers.utils.hub import cached_file, extract_commit_hash

    return None if Path(where).is_dir() else extract_commit_hash(cached_file(where, "config.json", **options), None)


@contextmanager
def _quiet_transformers() -> Iterator[None]:
    """Our own checks replace transformers' warnings and bars for the time of loading."""
    from huggingface_hub.utils import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars
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


def _fingerprint(spec: Spec, weights: Weights) -> str:
    digest = hashlib.sha256(repr(spec).encode())
    for name in sorted(weights):
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(weights[name]).data)
    return digest.hexdigest()
