"""SAELens, of all versions: cfg.json says what it is, sae_weights.safetensors holds the weights."""

from __future__ import annotations

from typing import Any

import numpy as np

from circuitgraph.errors import ArgumentError, ModelError
from circuitgraph.models.checkpoint import Checkpoint
from circuitgraph.models.dictionaries import DictionaryLayout, GivenSettings, layout
from circuitgraph.models.dictionaries.config_reader import ConfigReader
from circuitgraph.models.dictionaries.dictionary_spec import (
    DictionarySpec,
    FeatureActivation,
    Normalisation,
)
from circuitgraph.models.dictionaries.files import DictionaryFiles
from circuitgraph.models.dictionaries.hooks import Hook, parse_hook
from circuitgraph.models.dictionaries.stored_dictionary import (
    StoredDictionary,
    StoredPart,
    StoredParts,
    store_dictionary,
)

CONFIG, WEIGHTS = "cfg.json", "sae_weights.safetensors"
# By architecture: the activation, and whether it is a transcoder.
_ARCHITECTURES: dict[str, tuple[FeatureActivation, bool]] = {
    "standard": ("relu", False),
    "gated": ("gated", False),
    "jumprelu": ("jump_relu", False),
    "topk": ("top_k", False),
    "transcoder": ("relu", True),
    "skip_transcoder": ("relu", True),
    "jumprelu_transcoder": ("jump_relu", True),
    "jumprelu_skip_transcoder": ("jump_relu", True),
}
_NORMALISATIONS: dict[Any, Normalisation] = {
    "none": "none",
    None: "none",
    False: "none",
    "expected_average_only_in": "none",
    True: "none",
    "constant_norm_rescale": "norm",
    "layer_norm": "layer_norm",
}
_AVERAGE = ("expected_average_only_in", True)
# Settings of before version 6, by their present names.
_OLD_NAMES = {
    "hook_point": "hook_name",
    "hook_point_head_index": "hook_head_index",
    "activation_fn_str": "activation_fn",
}


@layout("saelens")
class SaeLens(DictionaryLayout):
    """SAELens 6 and later, and what was saved before: other names, and top-k as an activation.

    A BatchTopK dictionary is saved as JumpReLU once it is trained.
    """

    holds = f"{CONFIG} and {WEIGHTS}"
    takes = ("input_scale",)
    unused = "scaling_factor"

    def recognise(self, files: DictionaryFiles) -> bool:
        return files.only is None and files.has(CONFIG) and files.has(WEIGHTS)

    def open(self, files: DictionaryFiles, given: GivenSettings, layer: int) -> StoredDictionary:
        del layer
        config = _flatten(files.read_config(CONFIG))
        checkpoint = files.open_weights(WEIGHTS, CONFIG)
        _refuse_scaling(files.name, checkpoint)
        spec = _read_spec(config, given)
        sizes = {"f": config.read("d_sae", int), "i": config.read("d_in", int)}
        sizes["o"] = config.read("d_out", int | None, None) or sizes["i"]
        return store_dictionary(files.name, spec, checkpoint, _place_parts(spec, checkpoint), sizes)


def _flatten(config: ConfigReader) -> ConfigReader:
    """All settings in one table, those of version 6's ``metadata`` too, under present names."""
    content = {**config.section("metadata").content, **config.content}
    renamed = {_OLD_NAMES.get(name, name): value for name, value in content.items()}
    return ConfigReader(config.name, config.file, renamed)


def _read_spec(config: ConfigReader, given: GivenSettings) -> DictionarySpec:
    activation, k, is_transcoder = _read_activation(config)
    for setting in ("hook_head_index", "hook_head_index_out"):
        config.require(setting, None)
    if is_transcoder:
        config.require("apply_b_dec_to_input", False)
    normalised_by = config.content.get("normalize_activations")
    if not isinstance(normalised_by, str | bool | None) or normalised_by not in _NORMALISATIONS:
        config.refuse(
            "normalize_activations", ", ".join(filter(None, map(_quote, _NORMALISATIONS)))
        )
    scale = _read_scale(config, given, is_transcoder)
    reads, writes = _read_hooks(config, is_transcoder)
    rescales = config.read("rescale_acts_by_decoder_norm", bool, False)
    return DictionarySpec(
        layout="saelens",
        activation=activation,
        k=k,
        normalisation=_NORMALISATIONS[normalised_by],
        restores=not is_transcoder,
        input_scale=scale,
        output_scales=(scale,),
        subtracts_b_dec=not is_transcoder and config.read("apply_b_dec_to_input", bool, True),
        decoder_norm="features" if rescales and activation == "top_k" else "unused",
        reads=reads,
        writes=writes,
        model_name=config.read("model_name", str | None, None),
    )


def _quote(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _read_activation(config: ConfigReader) -> tuple[FeatureActivation, int | None, bool]:
    """The activation, k, and whether it is a transcoder."""
    architecture = config.content.get("architecture", "standard")
    if architecture not in _ARCHITECTURES:
        config.refuse("architecture", ", ".join(_ARCHITECTURES))
    activation, is_transcoder = _ARCHITECTURES[architecture]
    config.require("activation_fn", "relu", "topk", None)
    if activation == "top_k":
        holder = config if "k" in config.content else config.section("activation_fn_kwargs")
        return activation, holder.read("k", int), is_transcoder
    if config.content.get("activation_fn") == "topk":  # how it was said before version 6
        arguments = config.section("activation_fn_kwargs")
        arguments.require("signed", False)
        return "top_k", arguments.read("k", int), is_transcoder
    return activation, None, is_transcoder


def _read_scale(config: ConfigReader, given: GivenSettings, is_transcoder: bool) -> float:
    """What inputs are multiplied with so that their length is sqrt(d) on average."""
    by_average = config.content.get("normalize_activations") in _AVERAGE
    if not by_average and given.input_scale is not None:
        raise ArgumentError(
            f"input_scale is {given.input_scale}, but {config.name!r} does not scale its input by "
            "an average: leave it out."
        )
    if not by_average:
        return 1.0
    if given.input_scale is None or is_transcoder:
        raise ModelError(
            f"{config.name!r} was trained on inputs that were scaled by an average over its data "
            "(normalize_activations = expected_average_only_in), and its files do not hold that "
            "number. Give it: input_scale, sqrt(d) divided by the average length of inputs"
            f"{'; of a transcoder it cannot be given' * is_transcoder}."
        )
    return given.input_scale


def _read_hooks(config: ConfigReader, is_transcoder: bool) -> tuple[Hook | None, tuple[Hook, ...]]:
    """Where it reads and writes; the Hugging Face names go first, which mean one thing only."""
    ends = []
    for end in ("", "_out") if is_transcoder else ("",):
        names = [
            config.read(f"{kind}{end}", str | None, None) for kind in ("hf_hook_name", "hook_name")
        ]
        name = next(filter(None, names), None)
        ends.append(parse_hook(name) if name else None)
    reads, writes = ends[0], ends[-1]
    return reads, () if writes is None else (writes,)


def _place_parts(spec: DictionarySpec, checkpoint: Checkpoint) -> StoredParts:
    threshold, skip, is_gated = None, None, spec.activation == "gated"
    if spec.activation == "jump_relu":
        threshold = StoredPart("threshold", "f", transform="positive")
        if "log_threshold" in checkpoint.shapes:
            threshold = StoredPart("log_threshold", "f", transform="exp")
    if "W_skip" in checkpoint.shapes:
        skip = StoredPart("W_skip", "oi")
    return StoredParts(
        w_enc=StoredPart("W_enc", "if"),
        w_dec=(StoredPart("W_dec", "fo"),),
        b_enc=StoredPart("b_gate" if is_gated else "b_enc", "f"),
        b_dec=StoredPart("b_dec", "o"),
        threshold=threshold,
        w_skip=skip,
        r_mag=StoredPart("r_mag", "f") if is_gated else None,
        b_mag=StoredPart("b_mag", "f") if is_gated else None,
    )


def _refuse_scaling(name: str, checkpoint: Checkpoint) -> None:
    """Refuse factors of a finetuning, which were saved for a time even where all are one."""
    tensor = "scaling_factor"
    if tensor in checkpoint.shapes and not np.allclose(checkpoint.read_array(tensor), 1.0):
        raise ModelError(
            f"{name!r} has a {tensor} for each feature, of a finetuning, which is not supported."
        )
