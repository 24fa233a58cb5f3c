"""Gemma Scope 2: config.json and params.safetensors; a file for each layer if it is cross-layer."""

from __future__ import annotations

import re

from circuitgraph.errors import ModelError
from circuitgraph.models.checkpoint import Checkpoint
from circuitgraph.models.dictionaries import DictionaryLayout, GivenSettings, layout
from circuitgraph.models.dictionaries.dictionary_spec import DictionarySpec
from circuitgraph.models.dictionaries.files import DictionaryFiles
from circuitgraph.models.dictionaries.hooks import Hook, Place, parse_hook
from circuitgraph.models.dictionaries.stored_dictionary import (
    StoredDictionary,
    StoredPart,
    StoredParts,
    store_dictionary,
)

_PARAMS, _MEMBER = "params.safetensors", r"params_layer_(\d{1,4})\.safetensors"
# By a part of the folder's name, where there is no config.json.
_PLACES: dict[str, Place] = {"resid_post": "resid_post", "attn_out": "z", "mlp_out": "mlp_output"}


@layout("gemma_scope_2")
class GemmaScope2(DictionaryLayout):
    """Autoencoders, transcoders and cross-layer transcoders of Gemma 3.

    Transcoders read the MLP's normed input; a skip connection is stored [in, out].
    """

    holds = f"{_PARAMS} (with config.json), or params_layer_0.safetensors and so on"

    def recognise(self, files: DictionaryFiles) -> bool:
        return files.has(_PARAMS) or (files.only is None and bool(files.match(_MEMBER)))

    def list_members(self, files: DictionaryFiles) -> list[int] | None:
        return None if files.has(_PARAMS) else sorted(files.match(_MEMBER))

    def open(self, files: DictionaryFiles, given: GivenSettings, layer: int) -> StoredDictionary:
        del given
        is_single = files.has(_PARAMS)
        file = _PARAMS if is_single else files.match(_MEMBER)[layer]
        checkpoint = files.open_weights(file)
        if not is_single:
            return _open_member(files, checkpoint, layer)
        reads, writes, model = _read_hooks(files)
        return open_params(files.name, checkpoint, reads, writes, model)


def open_params(
    name: str,
    checkpoint: Checkpoint,
    reads: Hook | None,
    writes: tuple[Hook, ...],
    model_name: str | None = None,
    written: tuple[StoredPart, ...] = (StoredPart("w_dec", "fo"),),
) -> StoredDictionary:
    """A dictionary of Gemma Scope 2, which reads and writes there."""
    spec = DictionarySpec(
        layout="gemma_scope_2",
        activation="jump_relu",
        subtracts_b_dec=False,
        output_scales=(1.0,) * len(written),
        reads=reads,
        writes=writes,
        model_name=model_name,
    )
    skip = "affine_skip_connection"
    parts = StoredParts(
        w_enc=StoredPart("w_enc", "if"),
        w_dec=written,
        b_enc=StoredPart("b_enc", "f"),
        b_dec=StoredPart("b_dec", "o"),
        threshold=StoredPart("threshold", "f", transform="positive"),
        w_skip=StoredPart(skip, "io") if skip in checkpoint.shapes else None,
    )
    return store_dictionary(name, spec, checkpoint, parts)


def _open_member(files: DictionaryFiles, checkpoint: Checkpoint, layer: int) -> StoredDictionary:
    """One layer of a cross-layer transcoder: its decoder has a row for every layer, earlier ones
    unused.
    """
    shape = checkpoint.shapes.get("w_dec", ())
    if len(shape) != 3:
        raise ModelError(
            f"w_dec of {files.name!r} has the shape {list(shape)}: that of a cross-layer "
            "transcoder has the axes features, layers, d."
        )
    layers = range(layer, shape[1])
    model = _read_hooks(files)[2]
    return open_params(
        files.name,
        checkpoint,
        Hook("mlp_normed", layer),
        tuple(Hook("mlp_output", number) for number in layers),
        model,
        tuple(StoredPart("w_dec", "flo", at=number) for number in layers),
    )


def _read_hooks(files: DictionaryFiles) -> tuple[Hook | None, tuple[Hook, ...], str | None]:
    """Where it reads and writes, and the model: by config.json, else by the names of folders."""
    if files.has("config.json") or (files.only and "config.json" in files.names):
        config = files.read_config("config.json")
        config.require("architecture", "jump_relu")
        read_from = config.read("hf_hook_point_in", str | None, None)
        written_to = config.read("hf_hook_point_out", str | None, None) or read_from
        model = config.read("model_name", str | None, None)
        if read_from and written_to and "{" not in read_from + written_to:
            return parse_hook(read_from), (parse_hook(written_to),), model
        return None, (), model
    folder = files.full_name
    layer = re.search(r"layer_(\d+)", folder)
    if layer is None:
        return None, (), None
    if "transcoder" in folder:
        number = int(layer[1])
        return Hook("mlp_normed", number), (Hook("mlp_output", number),), None
    hooks = [Hook(place, int(layer[1])) for part, place in _PLACES.items() if part in folder]
    return (hooks[0], (hooks[0],), None) if hooks else (None, (), None)
