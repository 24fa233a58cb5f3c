"""circuit-tracer's cross-layer transcoders: config.yaml, W_enc_i and W_dec_i for each layer i."""

from __future__ import annotations

from circuitgraph.errors import ModelError
from circuitgraph.models.checkpoint import open_checkpoint
from circuitgraph.models.dictionaries import DictionaryLayout, GivenSettings, layout
from circuitgraph.models.dictionaries.circuit_tracer import CONFIG, is_kind, read_hook
from circuitgraph.models.dictionaries.dictionary_spec import DictionarySpec
from circuitgraph.models.dictionaries.files import DictionaryFiles
from circuitgraph.models.dictionaries.stored_dictionary import (
    StoredDictionary,
    StoredPart,
    StoredParts,
    store_dictionary,
)

_KIND = "cross_layer_transcoder"
_MEMBER = r"W_enc_(\d{1,4})\.safetensors"


@layout("circuit_tracer_cross_layer")
class CircuitTracerCrossLayer(DictionaryLayout):
    """Features of layer i write to the layers i to L - 1: ``W_dec_i`` is [features, L - i, d]."""

    holds = f"{CONFIG} with model_kind: {_KIND}, and W_enc_0.safetensors, W_dec_0.safetensors ..."

    def recognise(self, files: DictionaryFiles) -> bool:
        return is_kind(files, _KIND)

    def list_members(self, files: DictionaryFiles) -> list[int] | None:
        return sorted(files.match(_MEMBER))

    def open(self, files: DictionaryFiles, given: GivenSettings, layer: int) -> StoredDictionary:
        del given
        config = files.read_config(CONFIG)
        names = [f"W_{end}_{layer}.safetensors" for end in ("enc", "dec")]
        checkpoint = open_checkpoint(files.name, map(files.fetch, names))
        shape = checkpoint.shapes.get(f"W_dec_{layer}", ())
        n_layers = len(files.match(_MEMBER))
        if len(shape) != 3 or shape[1] != n_layers - layer:
            raise ModelError(
                f"W_dec_{layer} of {files.name!r} has the shape {list(shape)}: features of layer "
                f"{layer} of {n_layers} write to {n_layers - layer} layers, so that the axes must "
                f"be features, {n_layers - layer}, d."
            )
        has_threshold = f"threshold_{layer}" in checkpoint.shapes
        spec = DictionarySpec(
            layout="circuit_tracer_cross_layer",
            activation="jump_relu" if has_threshold else "relu",
            output_scales=(1.0,) * shape[1],
            subtracts_b_dec=False,
            reads=read_hook(config, "input", layer),
            writes=tuple(read_hook(config, "output", n) for n in range(layer, n_layers)),
            model_name=config.read("model_name", str | None, None),
        )
        parts = StoredParts(
            w_enc=StoredPart(f"W_enc_{layer}", "fi"),
            w_dec=tuple(StoredPart(f"W_dec_{layer}", "flo", at=at) for at in range(shape[1])),
            b_enc=StoredPart(f"b_enc_{layer}", "f"),
            b_dec=StoredPart(f"b_dec_{layer}", "o"),
            threshold=StoredPart(f"threshold_{layer}", "f") if has_threshold else None,
        )
        return store_dictionary(files.name, spec, checkpoint, parts)
