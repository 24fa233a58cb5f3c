"""Llama Scope R1: config.json, and sae_weights.safetensors with linear layers in it."""

from __future__ import annotations

from circuitgraph.models.dictionaries import DictionaryLayout, GivenSettings, layout
from circuitgraph.models.dictionaries.average_norms import AVERAGE_NORM, read_scale
from circuitgraph.models.dictionaries.dictionary_spec import DictionarySpec
from circuitgraph.models.dictionaries.files import DictionaryFiles
from circuitgraph.models.dictionaries.hooks import parse_hook
from circuitgraph.models.dictionaries.stored_dictionary import (
    StoredDictionary,
    StoredPart,
    StoredParts,
    store_dictionary,
)

CONFIG, WEIGHTS = "config.json", "sae_weights.safetensors"


@layout("llama_scope_r1")
class LlamaScopeR1(DictionaryLayout):
    """Autoencoders of DeepSeek-R1-Distill-Llama-8B: the logarithm of each feature's threshold."""

    holds = f"{CONFIG} and {WEIGHTS} with encoder.weight"
    takes = ("input_scale",)
    unused = rf"{AVERAGE_NORM}\..*"

    def recognise(self, files: DictionaryFiles) -> bool:
        if not (files.only is None and files.has(CONFIG) and files.has(WEIGHTS)):
            return False
        return "encoder.weight" in files.open_weights(WEIGHTS).shapes

    def open(self, files: DictionaryFiles, given: GivenSettings, layer: int) -> StoredDictionary:
        del layer
        config = files.read_config(CONFIG)
        checkpoint = files.open_weights(WEIGHTS, CONFIG)
        config.require("act_fn", "jumprelu")
        config.require("norm_activation", "dataset-wise", "inference")
        config.require("use_glu_encoder", False)
        width = config.read("d_model", int)
        names = config.read("hook_point_in", str), config.read("hook_point_out", str | None, None)
        names = names[0], names[1] or names[0]
        scales = (1.0, 1.0)
        if given.input_scale is not None:
            scales = (given.input_scale, given.input_scale)
        elif config.content.get("norm_activation") != "inference":
            scales = tuple(
                read_scale(config, checkpoint, width, name, end)
                for name, end in zip(names, ("in", "out"), strict=True)
            )
        chooses = config.read("sparsity_include_decoder_norm", bool, False)
        spec = DictionarySpec(
            layout="llama_scope_r1",
            activation="jump_relu",
            input_scale=scales[0],
            output_scales=(scales[1],),
            subtracts_b_dec=config.read("apply_decoder_bias_to_pre_encoder", bool, False),
            decoder_norm="choice" if chooses else "unused",
            reads=parse_hook(names[0]),
            writes=(parse_hook(names[1]),),
        )
        parts = StoredParts(
            w_enc=StoredPart("encoder.weight", "fi"),
            w_dec=(StoredPart("decoder.weight", "of"),),
            b_enc=StoredPart("encoder.bias", "f"),
            b_dec=StoredPart("decoder.bias", "o"),
            threshold=StoredPart("log_jumprelu_threshold", "f", transform="exp"),
        )
        sizes = {"f": int(width * config.read("expansion_factor", float)), "i": width}
        return store_dictionary(files.name, spec, checkpoint, parts, sizes)
