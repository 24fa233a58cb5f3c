"""circuit-tracer's sets of transcoders: config.yaml, and a file for each layer."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from urllib.parse import parse_qs, urlparse

from circuitgraph.errors import ModelError
from circuitgraph.models.checkpoint import Checkpoint, open_checkpoint
from circuitgraph.models.dictionaries import DictionaryLayout, GivenSettings, gemma_scope, layout
from circuitgraph.models.dictionaries import gemma_scope_2 as second
from circuitgraph.models.dictionaries.config_reader import ConfigReader
from circuitgraph.models.dictionaries.dictionary_spec import DictionarySpec, FeatureActivation
from circuitgraph.models.dictionaries.files import DictionaryFiles
from circuitgraph.models.dictionaries.hooks import Hook, parse_hook
from circuitgraph.models.dictionaries.stored_dictionary import (
    StoredDictionary,
    StoredPart,
    StoredParts,
    store_dictionary,
)

CONFIG, KIND = "config.yaml", "transcoder_set"
_MEMBER = r"layer_(\d{1,4})\.safetensors"
_THRESHOLD = "activation_function.threshold"


@layout("circuit_tracer")
class CircuitTracer(DictionaryLayout):
    """One transcoder for each layer; the encoder lies [features, d], the other way than SAELens'.

    Top-k keeps the highest as they are, negative ones too. ``transcoders`` may list files in other
    repositories (``hf://owner/repository/file``), those of Gemma Scope among them.
    """

    holds = f"{CONFIG} with model_kind: {KIND}"
    unused = "k"

    def recognise(self, files: DictionaryFiles) -> bool:
        return is_kind(files, KIND)

    def list_members(self, files: DictionaryFiles) -> list[int] | None:
        config = files.read_config(CONFIG)
        if "transcoders" in config.content:
            return list(range(len(config.read_names("transcoders"))))
        return sorted(files.match(_MEMBER))

    def open(self, files: DictionaryFiles, given: GivenSettings, layer: int) -> StoredDictionary:
        del given
        config = files.read_config(CONFIG)
        reads, writes = (read_hook(config, end, layer) for end in ("input", "output"))
        path, source = _fetch_member(files, config, layer)
        checkpoint = open_checkpoint(files.name, [path])
        if path.suffix == ".npz":
            stored = gemma_scope.open_params(files.name, source, checkpoint)
            spec = replace(stored.spec, layout="circuit_tracer", reads=reads, writes=(writes,))
            return replace(stored, spec=spec)
        if "w_enc" in checkpoint.shapes:
            stored = second.open_params(files.name, checkpoint, reads, (writes,))
            return replace(stored, spec=replace(stored.spec, layout="circuit_tracer"))
        spec = _read_spec(config, checkpoint, reads, writes)
        return store_dictionary(files.name, spec, checkpoint, _place_parts(spec, checkpoint))


def is_kind(files: DictionaryFiles, kind: str) -> bool:
    """Whether config.yaml says that this is what the files are."""
    if files.only is not None or not files.has(CONFIG):
        return False
    return files.read_config(CONFIG).content.get("model_kind") == kind


def read_hook(config: ConfigReader, end: str, layer: int) -> Hook:
    """Where the transcoder of a layer reads (``input``) or writes (``output``)."""
    return parse_hook(f"blocks.{layer}.{config.read(f'feature_{end}_hook', str)}")


def _read_spec(
    config: ConfigReader, checkpoint: Checkpoint, reads: Hook, writes: Hook
) -> DictionarySpec:
    config.require("activation", None, "relu", "topk", "jump_relu")
    by_default = "jump_relu" if _THRESHOLD in checkpoint.shapes else "relu"
    said: dict[str, FeatureActivation] = {"relu": "relu", "topk": "signed_top_k"}
    activation = said.get(str(config.content.get("activation")), by_default)
    return DictionarySpec(
        layout="circuit_tracer",
        activation=activation,
        k=config.read("k", int) if activation == "signed_top_k" else None,
        subtracts_b_dec=False,
        reads=reads,
        writes=(writes,),
        model_name=config.read("model_name", str | None, None),
    )


def _place_parts(spec: DictionarySpec, checkpoint: Checkpoint) -> StoredParts:
    return StoredParts(
        w_enc=StoredPart("W_enc", "fi"),
        w_dec=(StoredPart("W_dec", "fo"),),
        b_enc=StoredPart("b_enc", "f"),
        b_dec=StoredPart("b_dec", "o"),
        threshold=StoredPart(_THRESHOLD, "f") if spec.activation == "jump_relu" else None,
        w_skip=StoredPart("W_skip", "oi") if "W_skip" in checkpoint.shapes else None,
    )


def _fetch_member(files: DictionaryFiles, config: ConfigReader, layer: int) -> tuple[Path, str]:
    """The file of a layer, and where it comes from in words that name its release."""
    if "transcoders" not in config.content:
        file = files.match(_MEMBER)[layer]
        return files.fetch(file), file
    source = config.read_names("transcoders")[layer]
    if not source.startswith("hf://"):
        if source not in files.names:
            raise ModelError(f"{CONFIG} of {files.name!r} names {source!r}, which is not there.")
        return files.fetch(source), source
    address = urlparse(source)
    repository, _, file = address.path.strip("/").partition("/")
    revision = parse_qs(address.query).get("revision", ["main"])[0]
    options = {**files.options, "revision": revision}
    other = DictionaryFiles(files.name, f"{address.netloc}/{repository}", "", None, options)
    return other.fetch(file), source
