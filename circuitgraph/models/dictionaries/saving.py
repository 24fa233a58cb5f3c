"""A dictionary written in the layout of SAELens, which most tools read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from circuitgraph.catalog.single_files import write_file
from circuitgraph.errors import ArgumentError
from circuitgraph.models.dictionaries.dictionary import Dictionary
from circuitgraph.models.dictionaries.dictionary_spec import DictionarySpec
from circuitgraph.models.dictionaries.saelens import CONFIG, WEIGHTS

_ARCHITECTURES = {
    "relu": "standard",
    "jump_relu": "jumprelu",
    "top_k": "topk",
    "gated": "gated",
}
_TRANSCODERS = {
    ("relu", False): "transcoder",
    ("relu", True): "skip_transcoder",
    ("jump_relu", False): "jumprelu_transcoder",
    ("jump_relu", True): "jumprelu_skip_transcoder",
}
_NORMALISATIONS = {"none": "none", "norm": "constant_norm_rescale", "layer_norm": "layer_norm"}
_VERSION = "6.0.0"  # of SAELens, whose layout it is
_MARK = b"circuitgraph"


def save_dictionary(dictionary: Dictionary, folder: str | Path) -> None:
    """Write ``cfg.json`` and ``sae_weights.safetensors``, float32.

    Constant scales of inputs and outputs become part of the weights.

    Raises:
        ArgumentError: it is something that SAELens has no word for.
        OutputError: it cannot be written, or a file is there that circuitgraph did not write.
    """
    from safetensors.numpy import save

    architecture = _choose_architecture(dictionary)
    config = _make_config(dictionary, architecture)
    weights = {name: np.ascontiguousarray(a) for name, a in _list_weights(dictionary).items()}
    folder = Path(folder).expanduser()
    for file, content in (
        (WEIGHTS, save(weights, metadata={"saved_by": _MARK.decode()})),
        (CONFIG, json.dumps(config, indent=2, sort_keys=True).encode()),
    ):
        write_file(folder / file, content, is_own=_is_own)


def _is_own(content: bytes) -> bool:
    return _MARK in content[:10_000]


def _choose_architecture(dictionary: Dictionary) -> str:
    """SAELens' name of this kind; refuses what has none."""
    spec, skips = dictionary.spec, dictionary.w_skip is not None
    is_transcoder = spec.kind == "transcoder" or skips
    if is_transcoder:
        architecture = _TRANSCODERS.get((spec.activation, skips))
    else:
        architecture = _ARCHITECTURES.get(spec.activation)
    if architecture is None or len(dictionary.w_dec) > 1 or spec.decoder_norm == "choice":
        raise ArgumentError(
            f"SAELens has no word for this dictionary: a {spec.kind} with the activation "
            f"{spec.activation}{', a skip connection' * skips}, {len(dictionary.w_dec)} layer(s) "
            f"that it writes to, and features chosen by "
            f"{'their decoder rows' if spec.decoder_norm == 'choice' else 'their value'}."
        )
    if spec.subtracts_b_dec and (is_transcoder or spec.input_scale != spec.output_scales[0]):
        raise ArgumentError(
            "SAELens has no word for a dictionary that subtracts another bias from its input than "
            "it adds to its output, as transcoders would."
        )
    return architecture


def _make_config(dictionary: Dictionary, architecture: str) -> dict[str, Any]:
    spec = dictionary.spec
    config: dict[str, Any] = {
        "architecture": architecture,
        "d_in": dictionary.d_in,
        "d_sae": dictionary.n_features,
        "dtype": "float32",
        "device": "cpu",
        "apply_b_dec_to_input": spec.subtracts_b_dec,
        "normalize_activations": _NORMALISATIONS[spec.normalisation],
        "reshape_activations": "hook_z" if spec.reads and spec.reads.place == "z" else "none",
        "metadata": _make_metadata(spec),
    }
    if "transcoder" in architecture:
        config["d_out"] = dictionary.d_out
    if spec.k is not None:
        config["k"] = spec.k
        config["rescale_acts_by_decoder_norm"] = spec.decoder_norm == "features"
    return config


def _make_metadata(spec: DictionarySpec) -> dict[str, Any]:
    metadata: dict[str, Any] = {"sae_lens_version": _VERSION, "saved_by": _MARK.decode()}
    if spec.model_name is not None:
        metadata["model_name"] = spec.model_name
    if spec.reads is not None:
        metadata["hook_name"] = str(spec.reads)
    if spec.kind == "transcoder":
        metadata["hook_name_out"] = str(spec.writes[0])
    return metadata


def _list_weights(dictionary: Dictionary) -> dict[str, np.ndarray]:
    """All weights by SAELens' names and with its axes."""
    spec = dictionary.spec
    out = spec.output_scales[0]
    parts = {
        "W_enc": dictionary.w_enc.T * spec.input_scale,
        "W_dec": dictionary.w_dec[0] / out,
        "b_gate" if spec.activation == "gated" else "b_enc": dictionary.b_enc,
        "b_dec": dictionary.b_dec / out,
        "threshold": dictionary.threshold,
        "W_skip": dictionary.w_skip,
        "r_mag": dictionary.r_mag,
        "b_mag": dictionary.b_mag,
    }
    return {n: np.asarray(part, np.float32) for n, part in parts.items() if part is not None}
