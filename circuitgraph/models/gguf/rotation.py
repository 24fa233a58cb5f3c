"""The rotary positions of a GGUF file: some settings are metadata, some are tensors."""

from __future__ import annotations

from typing import Any

import numpy as np

from circuitgraph.errors import ModelError
from circuitgraph.models.families.rope import read_rope
from circuitgraph.models.gguf.fields import Fields

_BASE = 10000.0
_LLAMA3 = "rope_freqs.weight"
_LONGROPE = {"short_factor": "rope_factors_short.weight", "long_factor": "rope_factors_long.weight"}
# Of Llama 3.1 to 3.3. The file has only what these make of each frequency.
_LLAMA3_SETTINGS = {
    "rope_type": "llama3",
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}
_ROUNDING = 1e-5  # relative: the converter rounds to float32


def read_rotation(fields: Fields, settings: dict[str, Any]) -> dict[str, Any]:
    """The fields of the configuration that describe the rotation.

    Raises:
        ModelError: a kind of scaling, or a part of the dimensions, that is not implemented.
    """
    d_head = settings["head_dim"]
    rotated = fields.take_size("rope.dimension_count", d_head)
    base = fields.take_number("rope.freq_base", _BASE)
    if fields.architecture == "phi3":
        scaling, original = _read_longrope(fields, settings)
        parameters = {"rope_theta": base, "partial_rotary_factor": rotated / d_head, **scaling}
        return {"rope_parameters": parameters, "original_max_position_embeddings": original}
    parameters = {"rope_theta": base, **_read_scaling(fields)}
    if rotated != d_head:
        raise ModelError(
            f"{fields.header.name!r} rotates {rotated} of {d_head} dimensions of each head; "
            f"{fields.architecture} models rotate all of them."
        )
    factors = fields.take_tensor(_LLAMA3) if fields.architecture == "llama" else None
    if factors is not None:
        parameters |= _recover_llama3(fields, parameters, factors, settings)
    if fields.architecture != "gemma3":
        return {"rope_parameters": parameters}
    local = {"rope_type": "default", "rope_theta": fields.take_number("rope.freq_base_swa", _BASE)}
    return {"rope_parameters": {"full_attention": parameters, "sliding_attention": local}}


def _read_scaling(fields: Fields) -> dict[str, Any]:
    """How frequencies are stretched for prompts longer than those of the training."""
    kind = fields.take("rope.scaling.type", "none")
    if kind == "none":
        return {"rope_type": "default"}
    scaling = {"rope_type": kind, "factor": fields.take_number("rope.scaling.factor")}
    if kind == "yarn":
        scaling["original_max_position_embeddings"] = fields.take_size(
            "rope.scaling.original_context_length"
        )
    elif kind != "linear":
        raise ModelError(
            f"{fields.header.name!r} has {fields.architecture}.rope.scaling.type = {kind!r}; "
            "implemented are none, linear and yarn."
        )
    return scaling


def _read_longrope(fields: Fields, settings: dict[str, Any]) -> tuple[dict[str, Any], int]:
    """Phi 3: one list of stretches for short prompts, another for long ones, or no scaling.

    Returns:
        The settings, and the longest of the short prompts.
    """
    lists = {name: fields.take_tensor(tensor) for name, tensor in _LONGROPE.items()}
    context = settings["max_position_embeddings"]
    original = fields.take_size("rope.scaling.original_context_length", context)
    kind = fields.take("rope.scaling.type", "longrope")
    attention = fields.take_number("rope.scaling.attn_factor", 0.0)
    if kind not in ("none", "longrope"):
        raise ModelError(
            f"{fields.header.name!r} has phi3.rope.scaling.type = {kind!r}; implemented are none "
            "and longrope."
        )
    given = {name: values.ravel().tolist() for name, values in lists.items() if values is not None}
    if not given and not attention:
        return {"rope_type": "default"}, original
    if len(given) < len(_LONGROPE):
        raise ModelError(
            f"{fields.header.name!r} scales its rotary positions, but lacks "
            f"{' or '.join(_LONGROPE.values())}."
        )
    factor = {"attention_factor": attention} if attention else {}
    return {"rope_type": "longrope", **given, **factor}, original


def _recover_llama3(
    fields: Fields, parameters: dict[str, Any], factors: np.ndarray, settings: dict[str, Any]
) -> dict[str, Any]:
    """The settings of Llama 3's scaling that make these factors.

    Raises:
        ModelError: no such settings do.
    """
    scaling = {**parameters, **_LLAMA3_SETTINGS, "factor": float(factors.max())}
    plain, scaled = (
        np.array(read_rope({**settings, "rope_parameters": each}, settings["head_dim"]).frequencies)
        for each in (parameters, scaling)
    )
    is_plain = parameters["rope_type"] == "default"
    fits = factors.shape == plain.shape and np.allclose(
        factors, plain / scaled, rtol=_ROUNDING, atol=0
    )
    if not is_plain or not fits:
        raise ModelError(
            f"{fields.header.name!r} stretches its rotary frequencies by {_LLAMA3}, whose numbers "
            "are not those of Llama 3.1 to 3.3; others are not implemented."
        )
    return scaling
