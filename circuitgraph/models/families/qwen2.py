"""Qwen 2, 2.5 and QwQ: Llama with biases of q, k and v; some have windows in the upper layers."""

from __future__ import annotations

from typing import Any

from circuitgraph.models.families import Config, Family, activation_named, family
from circuitgraph.models.families.common import (
    NAMES,
    SIZES,
    WINDOW_SOURCES,
    fill_upper_windows,
    scales,
    sizes,
    whole_rotary,
    windows_by_type,
)
from circuitgraph.models.families.rope import FIELDS as ROPE_FIELDS
from circuitgraph.models.spec import NormSpec, Spec


@family("qwen2")
class Qwen2(Family):
    """Qwen2ForCausalLM. Whether there are biases is fixed, not configured."""

    handled = SIZES | ROPE_FIELDS | {"hidden_act", "layer_types", "rms_norm_eps", "sliding_window"}
    irrelevant = WINDOW_SOURCES | {"attention_dropout"}
    required = {"use_mrope": False}
    names = NAMES

    def fill(self, config: dict[str, Any]) -> dict[str, Any]:
        return fill_upper_windows(config)

    def spec(self, config: Config) -> Spec:
        size = sizes(config)
        norm = NormSpec("rms", config["rms_norm_eps"], cast_first=True)
        return Spec(
            **size,
            **whole_rotary(config, size),
            norm=norm,
            final_norm=norm,
            attn_scales=scales(size),
            windows=windows_by_type(config),
            qkv_bias=True,
            activation=activation_named(config["hidden_act"]),
            gated=True,
            tied=config["tie_word_embeddings"],
        )
