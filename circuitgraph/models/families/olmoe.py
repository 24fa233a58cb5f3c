"""OLMoE: Llama with a mixture of experts, and queries and keys normed over all heads."""

from __future__ import annotations

from circuitgraph.models.families import Config, Family, activation_named, family
from circuitgraph.models.families.common import SIZES, scales, sizes, whole_rotary
from circuitgraph.models.families.mixtral import EXPERTS, TRAINING, read_experts
from circuitgraph.models.families.qwen3_moe import Qwen3Moe
from circuitgraph.models.families.rope import FIELDS as ROPE_FIELDS
from circuitgraph.models.spec import NormSpec, Spec


@family("olmoe")
class Olmoe(Family):
    """OlmoeForCausalLM."""

    # a head_dim would part queries from their norm
    handled = (
        (SIZES - {"head_dim"})
        | ROPE_FIELDS
        | EXPERTS
        | {"attention_bias", "hidden_act", "norm_topk_prob", "rms_norm_eps"}
    )
    irrelevant = TRAINING
    required = {"clip_qkv": None}  # it would clip after the norm, where others clip before it
    names = Qwen3Moe.names

    def spec(self, config: Config) -> Spec:
        size = sizes(config)
        norm = NormSpec("rms", config["rms_norm_eps"], cast_first=True)
        return Spec(
            **size,
            **whole_rotary(config, size),
            norm=norm,
            final_norm=norm,
            qk_norm=norm,
            qk_norm_over="width",
            attn_scales=scales(size),
            qkv_bias=config["attention_bias"],
            o_bias=config["attention_bias"],
            activation=activation_named(config["hidden_act"]),
            gated=True,
            experts=read_experts(config, renormalise=config["norm_topk_prob"]),
            tied=config["tie_word_embeddings"],
        )
