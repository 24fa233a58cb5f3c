"""From a name to a running model: a local folder, a shipped model, or a name on the Hugging Face hub.

All three are ordinary Hugging Face checkpoints and take the same way: transformers reads the configuration and
the weights, the family's file refuses or maps them, torch is dropped.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np

from circuitgraph.errors import ModelError, list_problems, unknown_name
from circuitgraph.graph.graph import Graph
from circuitgraph.models.families import Weights, families
from circuitgraph.models.spec import Spec
from circuitgraph.models.tokenizer import Tokenizer
from circuitgraph.models.transformer import Transformer

_PACKAGE = Path(__file__).resolve().parent.parent
_TOKENIZER_FILES = ("tokenizer.json", "vocab.json", "tokenizer.model", "vocab.txt")
_WEIGHT_FILES = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)


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
        return sum(leaf.size for leaf in jax.tree.leaves(self.transformer))


def shipped_models() -> dict[str, Path]:
    """The trained models that come with circuitgraph, by name."""
    roots = [_PACKAGE / "_shipped" / "models", _PACKAGE.parent / "catalog" / "models"]
    root = next((root for root in roots if root.is_dir()), None)
    return {path.parent.name: path.parent for path in sorted(root.glob("*/config.json"))} if root else {}


def load_model(name: str, *, revision: str | None = None, local_only: bool = False) -> LanguageModel:
    """Load a model in float32.

    Args:
        name: a folder in Hugging Face layout, a shipped model (``circuitgraph list models``) or a hub name.
        revision: branch, tag or commit on the hub.
        local_only: use what the hub's cache holds, without asking the network.

    Raises:
        ModelError: not found, unreadable, incomplete, or with settings that cannot be reproduced exactly.
            Nothing is guessed: a missing tensor or an unknown config field is named and refused.
    """
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
        weights = _read_weights(name, where, config, options)
        tokenizer = _read_tokenizer(where, options)
    spec = family.prunable(spec, weights)
    return LanguageModel(
        name=name,
        family=settings["model_type"],
        revision=getattr(config, "_commit_hash", None),
        transformer=family.transformer(spec, weights),
        tokenizer=tokenizer,
        fingerprint=_fingerprint(spec, weights),
    )


def _locate(name: str) -> str:
    """The folder of a local or shipped model, or ``name`` itself for the hub."""
    if not name.strip():
        raise ModelError("The model's name is empty. Give a folder, a shipped model or a hub name.")
    path, shipped = Path(name).expanduser(), shipped_models()
    if path.is_dir():
        if not (path / "config.json").is_file():
            raise ModelError(f"The folder {name!r} has no config.json: it is not a Hugging Face checkpoint.")
        if not any((path / file).is_file() for file in _WEIGHT_FILES):
            raise ModelError(f"The folder {name!r} has no weights. Expected one of {', '.join(_WEIGHT_FILES)}.")
        return str(path)
    if name in shipped:
        return str(shipped[name])
    if path.exists():
        raise ModelError(f"{name!r} is a file. Expected the folder of a Hugging Face checkpoint.")
    if name.startswith((".", "/", "~")) or name.count("/") > 1:
        raise ModelError(f"There is no folder {name!r}.")
    return name


def _read_config(name: str, where: str, options: dict[str, Any]) -> Any:
    from transformers import AutoConfig

    if where != name or Path(where).is_dir():
        _check_model_type(name, Path(where))
    try:
        return AutoConfig.from_pretrained(where, **options)
    except Exception as error:
        if Path(where).is_dir():
            raise ModelError(f"The configuration of {name!r} cannot be read: {_first_line(error)}") from error
        hint = f"It is no folder here, and the hub did not provide it: {_first_line(error)}"
        raise ModelError(str(unknown_name("model", name, shipped_models(), hint))) from error


def _check_model_type(name: str, folder: Path) -> None:
    """Say which part of a local config.json is wrong before transformers says something longer."""
    try:
        settings = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"The config.json of {name!r} is not readable JSON: {_first_line(error)}") from error
    if not isinstance(settings, dict) or "model_type" not in settings:
        raise ModelError(f"The config.json of {name!r} has no 'model_type'.")
    _family(name, settings["model_type"])


def _family(name: str, model_type: str) -> Any:
    if model_type not in families:
        known = ", ".join(families.names())
        raise ModelError(f"{name!r} is of the architecture {model_type!r}, which is not supported. Supported: {known}.")
    return families[model_type]


def _read_weights(name: str, where: str, config: Any, options: dict[str, Any]) -> Weights:
    """The state dict as transformers' own class holds it, as numpy arrays without a copy."""
    import torch
    from transformers import AutoModelForCausalLM

    try:
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            where, config=config, dtype=torch.float32, output_loading_info=True, **options
        )
    except Exception as error:
        raise ModelError(f"The weights of {name!r} cannot be read: {_first_line(error)}") from error
    model, info = loaded
    problems = [f"missing: {key}" for key in sorted(info["missing_keys"])]
    problems += [f"unexpected: {key}" for key in sorted(info["unexpected_keys"])]
    problems += [f"wrong shape: {key}" for key in sorted(map(str, info["mismatched_keys"]))]
    problems += [str(message) for message in info.get("error_msgs") or []]
    weights = {key: tensor.numpy(force=True) for key, tensor in model.state_dict().items()}
    problems += [f"not finite: {key}" for key, value in weights.items() if not np.isfinite(value).all()]
    if problems:
        raise ModelError(list_problems(f"The checkpoint {name!r} does not hold the model it describes:", problems))
    return weights


def _read_tokenizer(where: str, options: dict[str, Any]) -> Tokenizer | None:
    from transformers import AutoTokenizer

    folder = Path(where)
    if folder.is_dir() and not any((folder / file).is_file() for file in _TOKENIZER_FILES):
        return None
    try:
        return Tokenizer(AutoTokenizer.from_pretrained(where, **options))
    except Exception as error:
        raise ModelError(f"The tokenizer of {where!r} cannot be read: {_first_line(error)}") from error


@contextmanager
def _quiet_transformers() -> Iterator[None]:
    """Our own checks replace transformers' warnings and bars for the time of loading."""
    from transformers.utils import logging

    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()


def _fingerprint(spec: Spec, weights: Weights) -> str:
    digest = hashlib.sha256(repr(spec).encode())
    for name in sorted(weights):
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(weights[name]).data)
    return digest.hexdigest()


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
