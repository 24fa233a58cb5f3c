"""Mistral: Llama without biases, and optionally one sliding window in all layers."""

from __future__ import annotations

from circuitgraph.models.families import Config, Family, activation_named, family
from circuitgraph.models.families.common import (
    NAMES,
    SIZES,
    same_window,
    scales,
    sizes,
    whole_rotary,
)
from circuitgraph.models.families.rope import FIELDS as ROPE_FIELDS
from circuitgraph.models.spec import NormSpec, Spec


@family("mistral")
class Mistral(Family):
    """MistralForCausalLM."""

    handled = SIZES | ROPE_FIELDS | {"hidden_act", "rms_norm_eps", "sliding_window"}
    irrelevant = frozenset({"attention_dropout"})
    names = NAMES

    def spec(self, config: Config) -> Spec:
        size = sizes(config)
        norm = NormSpec("rms", config["rms_norm_eps"], cast_first=True)
        return Spec(
            **size,
            **whole_rotary(config, size),
            norm=norm,
            final_norm=norm,
            attn_scales=scales(size),
            windows=same_window(config, size),
            activation=activation_named(config["hidden_act"]),
            gated=True,
            tied=config["tie_word_embeddings"],
        )
