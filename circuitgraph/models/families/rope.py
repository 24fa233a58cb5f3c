"""Rotary frequencies from a configuration, in the spelling of transformers 4 or 5, with every
scaling it knows.

Formulas as in transformers' ``modeling_rope_utils.py``, in torch's float32 so that the numbers are
the same to the
last bit: at position 4096 one bit of a frequency is 2e-4 radians.
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
"""Config fields that `rope_of` reads."""

_KNOWN = {
    "default": set(),
    "linear": {"factor"},
    "dynamic": {"factor"},
    "llama3": {"factor", "high_freq_factor", "low_freq_factor", "original_max_position_embeddings"},
    "yarn": {
        *(
            "factor",
            "attention_factor",
            "mscale",
            "mscale_all_dim",
            "beta_fast",
            "beta_slow",
            "truncate",
        ),
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


def rope_of(config: Config, d_head: int, *, layer_type: str | None = None) -> Rope:
    """The rotary embedding of a model, or of its layers of one type.

    Raises:
        ModelError: a kind of scaling, or a setting of it, that is not implemented.
    """
    given = _settings(config, layer_type)
    kind, dims = (
        given.get("rope_type", "default"),
        int(d_head * given.get("partial_rotary_factor", 1.0)),
    )
    if kind not in _KINDS:
        raise ModelError(str(unknown_name("rope_type", kind, _KINDS)))
    unknown = set(given) - _KNOWN[kind] - {"rope_type", "rope_theta", "partial_rotary_factor"}
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
    return _KINDS[kind](given, dims, config["max_position_embeddings"])


def _settings(config: Config, layer_type: str | None) -> dict[str, Any]:
    """The settings in one flat form."""
    given = config.get("rope_parameters") or config.get("rope_scaling") or {}
    if layer_type is not None and layer_type in given:
        given = given[layer_type] or {}
    found = {key: value for key, value in given.items() if value is not None}
    if "type" in found:
        found.setdefault("rope_type", found.pop("type"))
    for key in ("rope_theta", "partial_rotary_factor"):
        if config.get(key) is not None:
            found.setdefault(key, config[key])
    kind = found.get("rope_type", "default")
    found["rope_type"] = "longrope" if kind == "su" else kind
    outer = config.get("original_max_position_embeddings")
    if kind in ("default", "linear", "dynamic"):
        found.pop("original_max_position_embeddings", None)
    elif outer is not None and layer_type is None:
        found["original_max_position_embeddings"] = outer  # it goes before the one inside
    found["rope_theta"] = float(found.get("rope_theta", 10000.0))
    return found


def _plain(base: float, dims: int) -> Any:
    import torch

    return 1.0 / (base ** (torch.arange(0, dims, 2, dtype=torch.int64).float() / dims))


def _default(given: dict[str, Any], dims: int, context: int) -> Rope:
    del context
    return Rope(tuple(_plain(given["rope_theta"], dims).tolist()))


def _linear(given: dict[str, Any], dims: int, context: int) -> Rope:
    del context
    return Rope(tuple((_plain(given["rope_theta"], dims) / given["factor"]).tolist()))


def _dynamic(given: dict[str, Any], dims: int, context: int) -> Rope:
    """Up to ``context`` tokens as without scaling; beyond it the base grows with the prompt."""
    base = float(given["rope_theta"])
    plain = tuple(_plain(base, dims).tolist())
    return Rope(plain, context=context, base=base, stretch=float(given["factor"]))


def _llama3(given: dict[str, Any], dims: int, context: int) -> Rope:
    """Long waves are slowed down, short ones stay, those between are blended."""
    import torch

    factor, low, high = given["factor"], given["low_freq_factor"], given["high_freq_factor"]
    old = given.get("original_max_position_embeddings", context)
    plain = _plain(given["rope_theta"], dims)
    wave = 2 * math.pi / plain
    scaled = torch.where(wave > old / low, plain / factor, plain)
    smooth = (old / wave - low) / (high - low)
    blended = (1 - smooth) * scaled / factor + smooth * scaled
    between = ~(wave < old / high) & ~(wave > old / low)
    return Rope(tuple(torch.where(between, blended, scaled).tolist()))


def _yarn(given: dict[str, Any], dims: int, context: int) -> Rope:
    """NTK by parts (Peng et al. 2023, section 3.2), with the attention factor of its section 3.4."""
    import torch

    base, old = given["rope_theta"], given.get("original_max_position_embeddings", context)
    factor = given.get("factor", context / old)

    def mscale(weight: float) -> float:
        return 1.0 if factor <= 1 else 0.1 * weight * math.log(factor) + 1.0

    attention = given.get("attention_factor")
    if attention is None:
        above, below = given.get("mscale"), given.get("mscale_all_dim")
        attention = mscale(above) / mscale(below) if above and below else mscale(1.0)

    def dimension(turns: float) -> float:
        return dims * math.log(old / (turns * 2 * math.pi)) / (2 * math.log(base))

    low, high = (
        dimension(float(given.get(key) or usual))
        for key, usual in (("beta_fast", 32), ("beta_slow", 1))
    )
    if given.get("truncate", True):
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, dims - 1)
    high += 0.001 if low == high else 0.0
    ramp = ((torch.arange(dims // 2, dtype=torch.float32) - low) / (high - low)).clamp(0, 1)
    waves = base ** (torch.arange(0, dims, 2).float() / dims)
    kept = 1 - ramp
    return Rope(
        tuple((1.0 / (factor * waves) * (1 - kept) + 1.0 / waves * kept).tolist()), float(attention)
    )


def _longrope(given: dict[str, Any], dims: int, context: int) -> Rope:
    """One list of stretches up to the original context, another for longer prompts (Ding et al.
    2024).
    """
    import torch

    old = given.get("original_max_position_embeddings", context)
    factor = given.get("factor", context / old)
    for key in ("short_factor", "long_factor"):
        if len(given[key]) != dims // 2:
            raise ModelError(
                f"{key} has {len(given[key])} numbers, but {dims // 2} pairs of dimensions are "
                "rotated."
            )
    attention = given.get("attention_factor")
    if attention is None:
        attention = 1.0 if factor <= 1 else math.sqrt(1 + math.log(factor) / math.log(old))
    waves = given["rope_theta"] ** (torch.arange(0, dims, 2, dtype=torch.int64).float() / dims)
    short, long = (
        tuple((1.0 / (torch.tensor(given[key], dtype=torch.float32) * waves)).tolist())
        for key in ("short_factor", "long_factor")
    )
    return Rope(short, float(attention), context=old, longer=long)


_KINDS: dict[str, Callable[[dict[str, Any], int, int], Rope]] = {
    "default": _default,
    "linear": _linear,
    "dynamic": _dynamic,
    "llama3": _llama3,
    "yarn": _yarn,
    "longrope": _longrope,
}
