"""Qwen 3: Qwen 2 without the biases, but with norms of each head's queries and keys."""

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
from circuitgraph.models.parameters import Rows
from circuitgraph.models.spec import NormSpec, Spec

QK_NORM_NAMES: dict[str, str | Rows] = {
    "attention.q_norm": "layers.{i}.self_attn.q_norm",
    "attention.k_norm": "layers.{i}.self_attn.k_norm",
}


@family("qwen3")
class Qwen3(Family):
    """Qwen3ForCausalLM."""

    handled = (
        SIZES
        | ROPE_FIELDS
        | {"attention_bias", "hidden_act", "layer_types", "rms_norm_eps", "sliding_window"}
    )
    irrelevant = WINDOW_SOURCES | {"attention_dropout"}
    names = NAMES | QK_NORM_NAMES

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
            qk_norm=norm,
            attn_scales=scales(size),
            windows=windows_by_type(config),
            qkv_bias=config["attention_bias"],
            o_bias=config["attention_bias"],
            activation=activation_named(config["hidden_act"]),
            gated=True,
            tied=config["tie_word_embeddings"],
        )
