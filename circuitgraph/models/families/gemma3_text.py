"""Gemma 3, text only: Gemma 2 with normed queries and keys, a rotary embedding per layer type."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from circuitgraph.errors import ModelError
from circuitgraph.models.families import Config, Family, family
from circuitgraph.models.families.common import fill_layer_types, sizes
from circuitgraph.models.families.gemma import norm_of
from circuitgraph.models.families.gemma2 import Gemma2, gemma_fields
from circuitgraph.models.families.rope import read_rope
from circuitgraph.models.spec import Spec


def rotary_by_type(config: Config, size: Mapping[str, Any]) -> dict[str, Any]:
    """One rotary embedding for all layers with a window, another for those without."""
    kinds = sorted(set(config["layer_types"]))
    settings = config["rope_parameters"]
    if stray := sorted(key for key in settings if not key.endswith("_attention")):
        raise ModelError(
            f"rope_parameters has {', '.join(stray)} beside the settings of each type of layer; "
            "transformers does not read that, or for layers that were not meant. Say it for each "
            "type of layer."
        )
    if any("truncate" in (settings.get(kind) or {}) for kind in kinds):
        raise ModelError(
            "truncate: transformers does not read this setting of a rotary embedding by type of "
            "layer."
        )
    ropes = tuple(read_rope(config, size["d_head"], layer_type=kind) for kind in kinds)
    if any(2 * len(rope.frequencies) != size["d_head"] for rope in ropes):
        raise ModelError(
            f"partial_rotary_factor: {config['model_type']} models rotate all dimensions of each "
            "head."
        )
    return {
        "ropes": ropes,
        "rope_of_layer": tuple(kinds.index(kind) for kind in config["layer_types"]),
    }


def fill_rope_by_type(
    config: dict[str, Any], full_theta: float, sliding_theta: float
) -> dict[str, Any]:
    """The configuration with a rotary embedding for each type of layer.

    A scaling that is said once is that of the layers without a window.
    """
    ropes = {**(config["rope_parameters"] or {})}
    for kind, theta in (("full_attention", full_theta), ("sliding_attention", sliding_theta)):
        ropes[kind] = {"rope_theta": theta, **(ropes.get(kind) or {"rope_type": "default"})}
    ropes["full_attention"] |= config.pop("rope_scaling", None) or {}
    return {**config, "rope_parameters": ropes}


@family("gemma3_text")
class Gemma3Text(Family):
    """Gemma3ForCausalLM."""

    handled = Gemma2.handled - {"attn_logit_softcapping"}
    irrelevant = Gemma2.irrelevant | {
        # transformers makes layer_types of these two
        "sliding_window_pattern",
        "_sliding_window_pattern",
        "rope_local_base_freq",  # and rope_parameters of this
    }
    # transformers reads attn_logit_softcapping and then does not use it: nobody could say what is
    # right.
    required = {**Gemma2.required, "attn_logit_softcapping": None}
    names = {
        **Gemma2.names,
        "attention.q_norm": "layers.{i}.self_attn.q_norm",
        "attention.k_norm": "layers.{i}.self_attn.k_norm",
    }

    def fill(self, config: dict[str, Any]) -> dict[str, Any]:
        every = config.get("sliding_window_pattern", 6)
        full = config.pop("rope_theta", 1_000_000.0)
        sliding = config.pop("rope_local_base_freq", 10_000.0)
        fill_layer_types(config, lambda layer: (layer + 1) % every != 0)
        return fill_rope_by_type(config, full, sliding)

    def spec(self, config: Config) -> Spec:
        size, norm = sizes(config), norm_of(config)
        fields = gemma_fields(config, size, norm)
        return Spec(**fields, **rotary_by_type(config, size), qk_norm=norm)
