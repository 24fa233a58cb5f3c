"""GLM 4 9B: Llama in which some dimensions rotate, neighbours with each other, with fused MLPs."""

from __future__ import annotations

from circuitgraph.models.families import Config, Family, activation_named, family
from circuitgraph.models.families.common import (
    NAMES,
    SIZES,
    gate_up_blocks,
    same_rotary,
    scales,
    sizes,
)
from circuitgraph.models.families.rope import FIELDS as ROPE_FIELDS
from circuitgraph.models.spec import NormSpec, Spec


@family("glm")
class Glm(Family):
    """GlmForCausalLM. ``attention_bias`` is of queries, keys and values."""

    handled = SIZES | ROPE_FIELDS | {"attention_bias", "hidden_act", "rms_norm_eps"}
    irrelevant = frozenset({"attention_dropout"})
    names = {**NAMES, **gate_up_blocks("layers.{i}.mlp.gate_up_proj")}

    def spec(self, config: Config) -> Spec:
        size = sizes(config)
        norm = NormSpec("rms", config["rms_norm_eps"], cast_first=True)
        return Spec(
            **size,
            **same_rotary(config, size),
            rope_pairs="neighbours",
            norm=norm,
            final_norm=norm,
            attn_scales=scales(size),
            qkv_bias=config["attention_bias"],
            activation=activation_named(config["hidden_act"]),
            gated=True,
            tied=config["tie_word_embeddings"],
        )
