"""Llama 1 to 3.x, TinyLlama, Yi, SmolLM: RMS norms, rotary positions, gated MLP."""

from __future__ import annotations

from circuitgraph.models.families import Config, Family, activation_named, family
from circuitgraph.models.families.common import NAMES, SIZES, scales, sizes, whole_rotary
from circuitgraph.models.families.rope import FIELDS as ROPE_FIELDS
from circuitgraph.models.spec import NormSpec, Spec


@family("llama")
class Llama(Family):
    """LlamaForCausalLM."""

    handled = SIZES | ROPE_FIELDS | {"attention_bias", "hidden_act", "mlp_bias", "rms_norm_eps"}
    irrelevant = frozenset({"attention_dropout", "pretraining_tp"})
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
            qkv_bias=config["attention_bias"],
            o_bias=config["attention_bias"],
            activation=activation_named(config["hidden_act"]),
            gated=True,
            mlp_bias=config["mlp_bias"],
            tied=config["tie_word_embeddings"],
        )
