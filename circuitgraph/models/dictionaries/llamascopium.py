"""llamascopium (OpenMOSS's Language-Model-SAEs): config.json and sae_weights.safetensors."""

from __future__ import annotations

from circuitgraph.models.checkpoint import Checkpoint
from circuitgraph.models.dictionaries import DictionaryLayout, GivenSettings, layout
from circuitgraph.models.dictionaries.average_norms import AVERAGE_NORM, read_scale
from circuitgraph.models.dictionaries.config_reader import ConfigReader
from circuitgraph.models.dictionaries.dictionary_spec import (
    DictionarySpec,
    FeatureActivation,
    Normalisation,
)
from circuitgraph.models.dictionaries.files import DictionaryFiles
from circuitgraph.models.dictionaries.hooks import parse_hook
from circuitgraph.models.dictionaries.llama_scope_r1 import CONFIG, WEIGHTS
from circuitgraph.models.dictionaries.stored_dictionary import (
    StoredDictionary,
    StoredPart,
    StoredParts,
    store_dictionary,
)

_ACTIVATIONS: dict[str, FeatureActivation] = {
    "relu": "relu",
    "jumprelu": "jump_relu",
    "topk": "top_k",
}
_THRESHOLD = "activation_function.log_jumprelu_threshold"


@layout("llamascopium")
class Llamascopium(DictionaryLayout):
    """Autoencoders, transcoders and cross-layer transcoders.

    BatchTopK and its kin have no threshold before they are converted to JumpReLU, and are refused,
    as are crosscoders, lorsa and molt.
    """

    holds = f"{CONFIG} and {WEIGHTS} with W_E"
    unused = rf"{AVERAGE_NORM}\..*"

    def recognise(self, files: DictionaryFiles) -> bool:
        if not (files.only is None and files.has(CONFIG) and files.has(WEIGHTS)):
            return False
        return "W_E" in files.open_weights(WEIGHTS).shapes

    def list_members(self, files: DictionaryFiles) -> list[int] | None:
        config = files.read_config(CONFIG)
        if config.read("sae_type", str) != "clt":
            return None
        return list(range(len(config.read_names("hook_points_in"))))

    def open(self, files: DictionaryFiles, given: GivenSettings, layer: int) -> StoredDictionary:
        del given
        config = files.read_config(CONFIG)
        checkpoint = files.open_weights(WEIGHTS, CONFIG)
        config.require("sae_type", "sae", "clt")
        config.require("use_glu_encoder", False)
        if config.content.get("act_fn") not in _ACTIVATIONS:
            config.refuse("act_fn", ", ".join(_ACTIVATIONS))
        is_clt = config.read("sae_type", str) == "clt"
        if is_clt:
            read_from = config.read_names("hook_points_in")[layer]
            written_to = config.read_names("hook_points_out")[layer:]
        else:
            read_from = config.read("hook_point_in", str)
            written_to = [config.read("hook_point_out", str)]
        spec = _read_spec(config, checkpoint, read_from, written_to)
        parts = _place_member(layer, spec, config) if is_clt else _place_parts(spec, config)
        width = config.read("d_model", int)
        sizes = {"f": int(width * config.read("expansion_factor", float)), "i": width, "o": width}
        return store_dictionary(files.name, spec, checkpoint, parts, sizes)


def _read_spec(
    config: ConfigReader, checkpoint: Checkpoint, read_from: str, written_to: list[str]
) -> DictionarySpec:
    activation = _ACTIVATIONS[config.read("act_fn", str)]
    by = config.read("norm_activation", str, "dataset-wise")
    normalisation: Normalisation = "none"
    scales, input_scale = [1.0] * len(written_to), 1.0
    if by == "token-wise" and written_to == [read_from]:
        normalisation = "norm"
    elif by == "dataset-wise":
        width = config.read("d_model", int)
        input_scale = read_scale(config, checkpoint, width, read_from)
        scales = [read_scale(config, checkpoint, width, place) for place in written_to]
    elif by != "inference":
        config.refuse(
            "norm_activation", "dataset-wise, inference; token-wise where it writes what it reads"
        )
    chooses = config.read("sparsity_include_decoder_norm", bool, True)
    return DictionarySpec(
        layout="llamascopium",
        activation=activation,
        k=config.read("top_k", int, 50) if activation == "top_k" else None,
        normalisation=normalisation,
        input_scale=input_scale,
        output_scales=tuple(scales),
        subtracts_b_dec=False,
        decoder_norm="choice" if chooses else "unused",
        reads=parse_hook(read_from),
        writes=tuple(map(parse_hook, written_to)),
        model_name=config.read("model_name", str | None, None),
    )


def _place_parts(spec: DictionarySpec, config: ConfigReader) -> StoredParts:
    has_bias = config.read("use_decoder_bias", bool, True)
    jumps = spec.activation == "jump_relu"
    return StoredParts(
        w_enc=StoredPart("W_E", "if"),
        w_dec=(StoredPart("W_D", "fo"),),
        b_enc=StoredPart("b_E", "f"),
        b_dec=StoredPart("b_D", "o") if has_bias else None,
        threshold=StoredPart(_THRESHOLD, "f", transform="exp") if jumps else None,
    )


def _place_member(layer: int, spec: DictionarySpec, config: ConfigReader) -> StoredParts:
    """One layer of a cross-layer transcoder: ``W_D.l`` holds the decoders of layers 0 to l to l."""
    has_bias = config.read("use_decoder_bias", bool, True)
    jumps = spec.activation == "jump_relu"
    targets = range(layer, layer + len(spec.writes))
    return StoredParts(
        w_enc=StoredPart("W_E", "lif", at=layer),
        w_dec=tuple(StoredPart(f"W_D.{target}", "lfo", at=layer) for target in targets),
        b_enc=StoredPart("b_E", "lf", at=layer),
        b_dec=StoredPart(f"b_D.{layer}", "o") if has_bias else None,
        threshold=StoredPart(_THRESHOLD, "lf", at=layer, transform="exp") if jumps else None,
    )
