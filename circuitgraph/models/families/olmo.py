"""OLMo 1: norms without any parameters, and queries, keys and values that may be clipped."""

from __future__ import annotations

from circuitgraph.models.families import Config, Family, activation_named, family
from circuitgraph.models.families.common import NAMES, SIZES, scales, sizes, whole_rotary
from circuitgraph.models.families.rope import FIELDS as ROPE_FIELDS
from circuitgraph.models.spec import NormSpec, Spec


@family("olmo")
class Olmo(Family):
    """OlmoForCausalLM."""

    handled = SIZES | ROPE_FIELDS | {"attention_bias", "clip_qkv", "hidden_act"}
    irrelevant = frozenset({"attention_dropout", "pretraining_tp"})
    names = NAMES

    def spec(self, config: Config) -> Spec:
        size = sizes(config)
        norm = NormSpec("layer", 1e-5, weight=False)
        return Spec(
            **size,
            **whole_rotary(config, size),
            norm=norm,
            final_norm=norm,
            attn_scales=scales(size),
            clip_qkv=config["clip_qkv"],
            qkv_bias=config["attention_bias"],
            o_bias=config["attention_bias"],
            activation=activation_named(config["hidden_act"]),
            gated=True,
            tied=config["tie_word_embeddings"],
        )
