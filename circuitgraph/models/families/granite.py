"""Granite: Llama with factors of embedding, scores, sublayer outputs and logits."""

from __future__ import annotations

from circuitgraph.errors import ModelError
from circuitgraph.models.families import Config, Family, activation_named, family
from circuitgraph.models.families.common import NAMES, SIZES, scales, sizes, whole_rotary
from circuitgraph.models.families.rope import FIELDS as ROPE_FIELDS
from circuitgraph.models.spec import NormSpec, Spec


@family("granite")
class Granite(Family):
    """GraniteForCausalLM."""

    handled = (
        SIZES
        | ROPE_FIELDS
        | {
            "attention_bias",
            "attention_multiplier",
            "embedding_multiplier",
            "hidden_act",
            "logits_scaling",
            "mlp_bias",
            "residual_multiplier",
            "rms_norm_eps",
        }
    )
    irrelevant = frozenset({"attention_dropout", "pretraining_tp"})
    names = NAMES

    def spec(self, config: Config) -> Spec:
        if not config["logits_scaling"]:
            raise ModelError("logits_scaling = 0: the logits are divided by it.")
        size = sizes(config)
        norm = NormSpec("rms", config["rms_norm_eps"], cast_first=True)
        return Spec(
            **size,
            **whole_rotary(config, size),
            norm=norm,
            final_norm=norm,
            attn_scales=scales(size, config["attention_multiplier"]),  # instead of 1 / sqrt(d_head)
            qkv_bias=config["attention_bias"],
            o_bias=config["attention_bias"],
            activation=activation_named(config["hidden_act"]),
            gated=True,
            mlp_bias=config["mlp_bias"],
            embed_scale=config["embedding_multiplier"],
            residual_scale=config["residual_multiplier"],
            logit_scale=1 / config["logits_scaling"],
            tied=config["tie_word_embeddings"],
        )
