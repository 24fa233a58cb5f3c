"""Llama Scope: hyperparams.json, and checkpoints/final.safetensors."""

from __future__ import annotations

from circuitgraph.models.dictionaries import DictionaryLayout, GivenSettings, layout
from circuitgraph.models.dictionaries.average_norms import read_scale
from circuitgraph.models.dictionaries.dictionary_spec import DictionarySpec
from circuitgraph.models.dictionaries.files import DictionaryFiles
from circuitgraph.models.dictionaries.hooks import parse_hook
from circuitgraph.models.dictionaries.stored_dictionary import (
    StoredDictionary,
    StoredPart,
    StoredParts,
    store_dictionary,
)

_CONFIG, _WEIGHTS = "hyperparams.json", "checkpoints/final.safetensors"


@layout("llama_scope")
class LlamaScope(DictionaryLayout):
    """Autoencoders of Llama 3.1 8B (He et al. 2024): JumpReLU with one threshold for all features.

    The threshold is of unscaled values, so that it scales with the input.
    """

    holds = f"{_CONFIG} and {_WEIGHTS}"

    def recognise(self, files: DictionaryFiles) -> bool:
        return files.only is None and files.has(_CONFIG) and files.has(_WEIGHTS)

    def open(self, files: DictionaryFiles, given: GivenSettings, layer: int) -> StoredDictionary:
        del given, layer
        config = files.read_config(_CONFIG)
        checkpoint = files.open_weights(_WEIGHTS, _CONFIG)
        config.require("act_fn", "jumprelu")
        config.require("norm_activation", "dataset-wise")
        config.require("use_glu_encoder", False)
        width = config.read("d_model", int)
        scales = [read_scale(config, checkpoint, width, end) for end in ("in", "out")]
        reads = parse_hook(config.read("hook_point_in", str))
        writes = parse_hook(config.read("hook_point_out", str, str(reads)))
        chooses = config.read("sparsity_include_decoder_norm", bool, False)
        spec = DictionarySpec(
            layout="llama_scope",
            activation="jump_relu",
            input_scale=scales[0],
            output_scales=(scales[1],),
            subtracts_b_dec=config.read("apply_decoder_bias_to_pre_encoder", bool, False),
            decoder_norm="choice" if chooses else "unused",
            reads=reads,
            writes=(writes,),
            model_name="meta-llama/Llama-3.1-8B",
        )
        has_bias = config.read("use_decoder_bias", bool, True)
        parts = StoredParts(
            w_enc=StoredPart("encoder.weight", "fi"),
            w_dec=(StoredPart("decoder.weight", "of"),),
            b_enc=StoredPart("encoder.bias", "f"),
            b_dec=StoredPart("decoder.bias", "o") if has_bias else None,
            threshold=max(config.read("jump_relu_threshold", float), 0.0) * scales[0],
        )
        sizes = {"f": config.read("d_sae", int), "i": width}
        return store_dictionary(files.name, spec, checkpoint, parts, sizes)
