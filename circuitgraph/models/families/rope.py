"""Rotary frequencies from a configuration of transformers 4 or 5, with every scaling it knows.

Formulas as in transformers' ``modeling_rope_utils.py``, in torch's float32 so that the numbers are
the same to the last bit: at position 4096 one bit of a frequency is 2e-4 radians.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from circuitgraph.errors import ModelError, unknown_name
from circuitgraph.models.families import Config
from circuitgraph.models.spec import Rope

FIELDS = frozenset(
    {
        "max_position_embeddings",
        "original_max_position_embeddings",
        "partial_rotary_factor",
        "rope_parameters",
        "rope_scaling",
        "rope_theta",
    }
)
"""Config fields that `read_rope` reads."""

_SETTINGS = {
    "default": set(),
    "linear": {"factor"},
    "dynamic": {"factor"},
    "llama3": {"factor", "high_freq_factor", "low_freq_factor", "original_max_position_embeddings"},
    "yarn": {
        "factor",
        "attention_factor",
        "mscale",
        "mscale_all_dim",
        "beta_fast",
        "beta_slow",
        "truncate",
        "original_max_position_embeddings",
    },
    "longrope": {
        "factor",
        "attention_factor",
        "short_factor",
        "long_factor",
        "original_max_position_embeddings",
    },
}


def read_rope(config: Config, d_head: int, *, layer_type: str | None = None) -> Rope:
    """The rotary embedding of a model, or of its layers of one type.

    Raises:
        ModelError: a kind of scaling, or a setting of it, that is not implemented.
    """
    settings = _read_settings(config, layer_type)
    kind = settings.get("rope_type", "default")
    dims = int(d_head * settings.get("partial_rotary_factor", 1.0))
    if kind not in _MAKERS:
        raise ModelError(str(unknown_name("rope_type", kind, _MAKERS)))
    unknown = set(settings) - _SETTINGS[kind] - {"rope_type", "rope_theta", "partial_rotary_factor"}
    unknown -= {"type"}  # transformers 4 kept the old spelling beside the new one
    if unknown:
        raise ModelError(
            f"The {kind} rotary embedding has settings that are not known: "
            f"{', '.join(sorted(unknown))}."
        )
    if dims < 2 or dims % 2:
        raise ModelError(
            f"{dims} of {d_head} dimensions of each head would be rotated; it must be an even "
            "number."
        )
    return _MAKERS[kind](settings, dims, config["max_position_embeddings"])


def _read_settings(config: Config, layer_type: str | None) -> dict[str, Any]:
    """The rotary settings in one flat form, in the spelling of transformers 5."""
    nested = config.get("rope_parameters") or config.get("rope_scaling") or {}
    if layer_type is not None and layer_type in nested:
        nested = nested[layer_type] or {}
    settings = {key: value for key, value in nested.items() if value is not None}
    if "type" in settings:
        settings.setdefault("rope_type", settings.pop("type"))
    for key in ("rope_theta", "partial_rotary_factor"):
        if config.get(key) is not None:
            settings.setdefault(key, config[key])
    kind = settings.get("rope_type", "default")
    settings["rope_type"] = "longrope" if kind == "su" else kind
    outer = config.get("original_max_position_embeddings")
    if kind in ("default", "linear", "dynamic"):
        settings.pop("original_max_position_embeddings", None)
    elif outer is not None and layer_type is None:
        settings["original_max_position_embeddings"] = outer  # the outer one wins
    settings["rope_theta"] = float(settings.get("rope_theta", 10000.0))
    return settings


def _plain_frequencies(base: float, dims: int) -> Any:
    import torch

    return 1.0 / (base ** (torch.arange(0, dims, 2, dtype=torch.int64).float() / dims))


def _default_rope(settings: dict[str, Any], dims: int, context: int) -> Rope:
    del context
    return Rope(tuple(_plain_frequencies(settings["rope_theta"], dims).tolist()))


def _linear_rope(settings: dict[str, Any], dims: int, context: int) -> Rope:
    del context
    return Rope(
        tuple((_plain_frequencies(settings["rope_theta"], dims) / settings["factor"]).tolist())
    )


def _dynamic_rope(settings: dict[str, Any], dims: int, context: int) -> Rope:
    """Up to ``context`` tokens as without scaling; beyond it the base grows with the prompt."""
    base = float(settings["rope_theta"])
    plain = tuple(_plain_frequencies(base, dims).tolist())
    return Rope(plain, context=context, base=base, stretch=float(settings["factor"]))


def _llama3_rope(settings: dict[str, Any], dims: int, context: int) -> Rope:
    """Long waves are slowed down, short ones stay, those between are blended."""
    import torch

    factor, low, high = (
        settings["factor"],
        settings["low_freq_factor"],
        settings["high_freq_factor"],
    )
    old = settings.get("original_max_position_embeddings", context)
    plain = _plain_frequencies(settings["rope_theta"], dims)
    wave = 2 * math.pi / plain
    scaled = torch.where(wave > old / low, plain / factor, plain)
    smooth = (old / wave - low) / (high - low)
    blended = (1 - smooth) * scaled / factor + smooth * scaled
    between = ~(wave < old / high) & ~(wave > old / low)
    return Rope(tuple(torch.where(between, blended, scaled).tolist()))


def _yarn_rope(settings: dict[str, Any], dims: int, context: int) -> Rope:
    """NTK by parts (Peng et al. 2023, section 3.2), with the attention factor of section 3.4."""
    import torch

    base, old = settings["rope_theta"], settings.get("original_max_position_embeddings", context)
    factor = settings.get("factor", context / old)

    def magnitude(weight: float) -> float:  # mscale in the paper's code
        return 1.0 if factor <= 1 else 0.1 * weight * math.log(factor) + 1.0

    attention = settings.get("attention_factor")
    if attention is None:
        above, below = settings.get("mscale"), settings.get("mscale_all_dim")
        attention = magnitude(above) / magnitude(below) if above and below else magnitude(1.0)

    def dimension_of(turns: float) -> float:
        """The dimension that turns so often within the original context."""
        return dims * math.log(old / (turns * 2 * math.pi)) / (2 * math.log(base))

    low, high = (
        dimension_of(float(settings.get(key) or default))
        for key, default in (("beta_fast", 32), ("beta_slow", 1))
    )
    if settings.get("truncate", True):
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, dims - 1)
    high += 0.001 if low == high else 0.0
    ramp = ((torch.arange(dims // 2, dtype=torch.float32) - low) / (high - low)).clamp(0, 1)
    waves = base ** (torch.arange(0, dims, 2).float() / dims)
    unscaled = 1 - ramp
    frequencies = 1.0 / (factor * waves) * (1 - unscaled) + 1.0 / waves * unscaled
    return Rope(tuple(frequencies.tolist()), float(attention))


def _longrope_rope(settings: dict[str, Any], dims: int, context: int) -> Rope:
    """One list of stretches up to the original context, another beyond it (Ding et al. 2024)."""
    import torch

    old = settings.get("original_max_position_embeddings", context)
    factor = settings.get("factor", context / old)
    for key in ("short_factor", "long_factor"):
        if len(settings[key]) != dims // 2:
            raise ModelError(
                f"{key} has {len(settings[key])} numbers, but {dims // 2} pairs of dimensions are "
                "rotated."
            )
    attention = settings.get("attention_factor")
    if attention is None:
        attention = 1.0 if factor <= 1 else math.sqrt(1 + math.log(factor) / math.log(old))
    waves = settings["rope_theta"] ** (torch.arange(0, dims, 2, dtype=torch.int64).float() / dims)
    short, long = (
        tuple((1.0 / (torch.tensor(settings[key], dtype=torch.float32) * waves)).tolist())
        for key in ("short_factor", "long_factor")
    )
    return Rope(short, float(attention), context=old, longer=long)


_MAKERS: dict[str, Callable[[dict[str, Any], int, int], Rope]] = {
    "default": _default_rope,
    "linear": _linear_rope,
    "dynamic": _dynamic_rope,
    "llama3": _llama3_rope,
    "yarn": _yarn_rope,
    "longrope": _longrope_rope,
}
