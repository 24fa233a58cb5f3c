"""From a name to a running model: a local folder, a shipped model, or a Hugging Face hub name.

All three are ordinary Hugging Face checkpoints and take the same way: the configuration is read,
the family's file refuses it or understands it and says where the tensors are, and the tensors go to
jax one by one. Models in one file (GGUF, TransformerLens) and constructed ones have loaders of
their own.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import jax
from jax.sharding import Mesh

from circuitgraph.catalog.folders import find_path
from circuitgraph.errors import ModelError, first_line, unknown_name
from circuitgraph.foreign import LARGEST_CONFIG, read_json
from circuitgraph.models.assemble import assemble_transformer, check_dtype
from circuitgraph.models.attaching import attach_dictionaries
from circuitgraph.models.checkpoint import (
    SAVE_AGAIN,
    WEIGHT_FILES,
    Checkpoint,
    open_checkpoint,
)
from circuitgraph.models.constructed.named_programs import PREFIX, load_constructed
from circuitgraph.models.families import Family, families
from circuitgraph.models.families.unsupported import explain_unsupported
from circuitgraph.models.folder_content import ADAPTER_FILE, MERGE, suggest_content
from circuitgraph.models.gguf.loading import is_gguf, load_gguf
from circuitgraph.models.gguf.packages import is_packaged
from circuitgraph.models.hub import fetch_file, fetch_weight_files, find_file, read_commit
from circuitgraph.models.language_model import LanguageModel
from circuitgraph.models.settings import read_settings
from circuitgraph.models.sharding import make_weight_mesh, shard_transformer
from circuitgraph.models.shipped import list_shipped
from circuitgraph.models.sizes import check_counts, explain_values
from circuitgraph.models.spec import Spec
from circuitgraph.models.token_names import OUTPUTS, check_names
from circuitgraph.models.tokenizer import read_tokenizer
from circuitgraph.models.transformer_lens_checkpoint import (
    FAMILY,
    SUFFIXES,
    is_state_dict,
    load_transformer_lens,
)

_EXPECTED = (
    "Give a folder in Hugging Face layout, a GGUF file, a shipped model (circuitgraph list models) "
    "or a hub name."
)


def shipped_models() -> dict[str, Path]:
    """The trained models that come with circuitgraph, by name."""
    return list_shipped("models", "config.json")


def find_model(name: str, file: str | Path) -> str:
    """The model that a record or a hypothesis names: as it is, if it is here or shipped, else the
    whole path of a folder or state dict beside the file or above it.

    What is nowhere stays as it is, and is looked for on a hub.
    """

    def is_checkpoint(path: Path) -> bool:
        is_one_file = is_state_dict(path) or is_gguf(path)
        return (path / "config.json").is_file() or (is_one_file and path.is_file())

    here = find_path(name, Path.cwd(), is_checkpoint)
    if (
        is_packaged(name)
        or name in shipped_models()
        or (here is not None and here == Path(name).resolve())
    ):
        return name
    return str(find_path(name, file, is_checkpoint) or name)


def load_model(
    name: str | Path,
    *,
    revision: str | None = None,
    dtype: str = "float32",
    config: str | Path | Mapping[str, Any] | None = None,
    vocab: Sequence[str] | None = None,
    output_vocab: Sequence[str] | None = None,
    local_only: bool = False,
    trust_remote_code: bool = False,
    ignore_config_fields: Sequence[str] = (),
    dictionaries: Sequence[str | Path] = (),
    shard: int | None = None,
) -> LanguageModel:
    """Load a model.

    Args:
        name: a folder in Hugging Face layout, a shipped model (``circuitgraph list models``), a hub
            name, a GGUF file (``.gguf``, or ``package:NAME`` for that of an installed Python
            package), the state dict of a TransformerLens model (``.pt``, ``.pth``,
            ``.safetensors``), or ``constructed:PROGRAM``.
        revision: branch, tag or commit on the hub.
        dtype: precision to run in, whatever the files have: float32, bfloat16, float16 or float64.
        config: of a TransformerLens model: its fields, or a JSON file of them; by default the JSON
            beside the weights.
        vocab, output_vocab: names of the tokens that the model reads and of the classes that it
            predicts, in the order of their ids, in place of those in the configuration.
        local_only: use what the hub's cache holds, without asking the network.
        trust_remote_code: let the checkpoint's own Python code read its configuration and
            tokenizer. What runs the model is always ours.
        ignore_config_fields: fields of config.json that would be refused, and that you know to
            change nothing. Circuits say that they were ignored.
        dictionaries: whose features can be nodes of the model's graph: names, as of
            `attach_dictionaries`.
        shard: how many devices each weight is cut over, for a model larger than one device; by
            default all weights are on each device. Sums are taken in another order then, so that
            last digits differ.

    Raises:
        ModelError: not found, unreadable, incomplete, or with settings that cannot be reproduced
            exactly. Nothing is guessed: a missing tensor or an unknown config field is named and
            refused. Names that are too many, too few, empty or there twice.
        UnknownNameError: no constructed model of that name.
        MissingExtraError: a GGUF file, but the gguf package is not installed.
        ArgumentError: dictionaries whose features can be no nodes; see `attach_dictionaries`.
            Fewer devices than ``shard`` asks for, or only one.
    """
    weight_mesh = make_weight_mesh(shard)
    model = _load_unnamed(
        str(name),
        weight_mesh=weight_mesh,
        revision=revision,
        dtype=dtype,
        config=config,
        local_only=local_only,
        trust_remote_code=trust_remote_code,
        ignored=tuple(ignore_config_fields),
    )
    spec = model.spec
    names = check_names("vocab", vocab, spec.d_vocab, "tokens")
    outputs = check_names("output_vocab", output_vocab, spec.d_vocab_out, OUTPUTS)
    options: dict[str, Any] = {}
    if config is not None:
        options["config"] = dict(config) if isinstance(config, Mapping) else str(config)
    if trust_remote_code:
        options["trust_remote_code"] = True
    if ignore_config_fields:
        options["ignore_config_fields"] = list(ignore_config_fields)
    model = replace(
        model,
        vocab=names or model.vocab,
        output_vocab=outputs or model.output_vocab,
        options=options,
    )
    return attach_dictionaries(model, *dictionaries) if dictionaries else model


def _load_unnamed(
    name: str,
    *,
    weight_mesh: Mesh | None,
    revision: str | None,
    dtype: str,
    config: str | Path | Mapping[str, Any] | None,
    local_only: bool,
    trust_remote_code: bool,
    ignored: tuple[str, ...],
) -> LanguageModel:
    """The model, with the names of tokens that its own files have."""
    check_dtype(dtype)
    path = Path(name)
    is_gguf_file = is_gguf(path) and not path.is_dir()
    is_lens = config is not None or is_state_dict(path)
    if ignored and (name.startswith(PREFIX) or is_gguf_file or is_lens):
        raise ModelError(
            f"ignore_config_fields ({', '.join(ignored)}) is about a config.json, which {name!r} "
            "does not have: leave it out."
        )
    if revision is not None and (is_gguf_file or is_lens or is_local(name)):
        raise ModelError(
            f"revision is {revision!r}, but only models on a hub have revisions, and {name!r} is "
            "here: leave it out."
        )
    if name.startswith(PREFIX):
        model = _cast_model(load_constructed(name).model, dtype)
        return model if weight_mesh is None else _shard_model(model, weight_mesh)
    if is_gguf_file and config is None:
        return load_gguf(name, dtype=dtype, weight_mesh=weight_mesh)
    if is_lens:
        return load_transformer_lens(name, config, dtype=dtype, weight_mesh=weight_mesh)
    opened = open_folder(
        name,
        revision=revision,
        local_only=local_only,
        trust_remote_code=trust_remote_code,
        ignored=ignored,
    )
    return LanguageModel(
        name=name,
        family=opened.model_type,
        location=opened.location,
        revision=opened.revision,
        transformer=assemble_transformer(
            opened.spec, opened.family, opened.checkpoint, dtype, weight_mesh
        ),
        tokenizer=read_tokenizer(opened.location, opened.options),
    )


class OpenedFolder(NamedTuple):
    """A checkpoint in Hugging Face layout, whose settings and headers are read.

    Attributes:
        spec: as the settings say it; the weights may say more.
        options: of transformers' ``from_pretrained``.
    """

    location: str
    revision: str | None
    config_file: Path
    model_type: str
    family: Family
    spec: Spec
    checkpoint: Checkpoint
    options: dict[str, Any]


def open_folder(
    name: str,
    *,
    revision: str | None,
    local_only: bool,
    trust_remote_code: bool,
    ignored: Sequence[str],
) -> OpenedFolder:
    """Settings and tensors' headers of a folder, a shipped model or a hub name; see `load_model`.

    Raises:
        ModelError: as `load_model` says.
    """
    location = _locate_checkpoint(name)
    options: dict[str, Any] = {
        "local_files_only": local_only or location != name,
        "revision": revision or "main",
    }
    config_file = _fetch_config_file(name, location, options)
    family, content = _read_config_file(name, config_file)
    content = family.drop(content, ignored)
    _refuse_adapter(name, location, options)
    commit = read_commit(location, config_file)
    if commit is not None:  # all files are of one commit, even if the hub's branch moves on
        options["revision"] = commit
    with_code = options | {"trust_remote_code": trust_remote_code}
    settings = read_settings(name, location, content, with_code, tuple(ignored))
    with explain_values(name):
        family, spec = family.read_config(settings)
    checkpoint = open_checkpoint(name, fetch_weight_files(name, location, options))
    kind = settings["model_type"]
    return OpenedFolder(location, commit, config_file, kind, family, spec, checkpoint, with_code)


def _cast_model(model: LanguageModel, dtype: str) -> LanguageModel:
    """The model with its weights rounded to that precision."""
    return replace(
        model, transformer=jax.tree.map(lambda weights: weights.astype(dtype), model.transformer)
    )


def _shard_model(model: LanguageModel, weight_mesh: Mesh) -> LanguageModel:
    """The model with its weights cut over devices."""
    return replace(model, transformer=shard_transformer(model.transformer, weight_mesh))


def is_local(name: str) -> bool:
    """Whether a name is that of a shipped or constructed model or a folder, not one on the hub."""
    return name.startswith(PREFIX) or name in shipped_models() or os.path.isdir(name)


def _locate_checkpoint(name: str) -> str:
    """The folder of a local or shipped model, or ``name`` itself for the hub."""
    if not name.strip():
        raise ModelError(f"The model's name is empty. {_EXPECTED}")
    shipped = shipped_models()
    try:
        path = Path(name).expanduser()
        exists, is_folder = path.exists(), path.is_dir()
    except (OSError, RuntimeError) as error:  # a name too long, somebody's home that is not here
        raise ModelError(
            f"{name!r} cannot be looked up: {first_line(error)}. {_EXPECTED}"
        ) from error
    has_config = is_folder and (path / "config.json").is_file()
    if name in shipped and not has_config:
        return str(shipped[name])
    if is_folder:
        if not has_config:
            raise ModelError(
                f"The folder {name!r} has no config.json: it is not a Hugging Face "
                f"checkpoint.{suggest_content(path)} {_EXPECTED}"
            )
        if not any((path / file).is_file() for file in WEIGHT_FILES):
            raise ModelError(
                f"The folder {name!r} has no weights. Expected one of "
                f"{', '.join(WEIGHT_FILES)}.{suggest_content(path)}"
            )
        return str(path)
    if exists:
        raise ModelError(
            f"{name!r} is a file. Give the folder that holds it, if that is a Hugging Face "
            "checkpoint."
        )
    if name.startswith((".", "/", "~")) or name.count("/") > 1:
        raise ModelError(
            f"There is no {'file' if path.suffix in SUFFIXES else 'folder'} {name!r}. {_EXPECTED}"
        )
    return name


def _refuse_adapter(name: str, location: str, options: dict[str, Any]) -> None:
    """Raise `ModelError` where an adapter lies beside the weights.

    transformers, with peft installed, would run the weights with the adapter.
    """
    if find_file(location, ADAPTER_FILE, options) is not None:
        raise ModelError(
            f"{name!r} has an adapter beside its weights ({ADAPTER_FILE}): the model is both "
            "together, and the weights alone are another model. Merge them "
            f"{MERGE}, or remove the adapter's files to run "
            "the weights alone."
        )


def _fetch_config_file(name: str, location: str, options: dict[str, Any]) -> Path:
    """config.json in the folder or in the hub's cache; fetched from the hub if need be."""
    try:
        return fetch_file(location, "config.json", options)
    except Exception as error:
        revision = "" if options["revision"] == "main" else f" at revision {options['revision']!r}"
        hint = (
            f"It is no folder here, and the hub did not provide it{revision}: "
            f"{first_line(error)}. {_EXPECTED}"
        )
        raise ModelError(str(unknown_name("model", name, shipped_models(), hint))) from error


def _read_config_file(name: str, path: Path) -> tuple[Family, dict[str, Any]]:
    """The content of a config.json, and the known family that it must be of.

    transformers' own message would be longer, or would ask to run the checkpoint's code.
    """
    try:
        settings = read_json(path, LARGEST_CONFIG)
    except (OSError, ValueError) as error:
        raise ModelError(
            f"The config.json of {name!r} is not readable JSON: {first_line(error)}. {SAVE_AGAIN}"
        ) from error
    if not isinstance(settings, dict) or "model_type" not in settings:
        hint = suggest_content(path.parent)
        raise ModelError(f"The config.json of {name!r} has no 'model_type'.{hint} {SAVE_AGAIN}")
    family = _find_family(name, settings["model_type"])
    check_counts(settings)
    return family, settings


def _find_family(name: str, model_type: Any) -> Family:
    # The checkpoints of TransformerLens are files, not folders.
    supported = [known for known in families.names() if known != FAMILY]
    if not isinstance(model_type, str) or model_type not in supported:
        raise ModelError(
            f"{name!r} is of the architecture {model_type!r}, which is not supported"
            f"{explain_unsupported(model_type)}. Supported: {', '.join(supported)}."
        )
    return families[model_type]
