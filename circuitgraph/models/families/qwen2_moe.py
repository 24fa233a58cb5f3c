"""Qwen 1.5 and 2 MoE: Qwen 2 with experts in every layer, beside an MLP that all tokens share."""

from __future__ import annotations

from dataclasses import replace

from circuitgraph.models.families import Config, Family, activation_named, check_sizes, family
from circuitgraph.models.families.common import (
    NAMES,
    SIZES,
    scales,
    sizes,
    whole_rotary,
    windows_by_type,
)
from circuitgraph.models.families.mixtral import EXPERTS, read_experts
from circuitgraph.models.families.qwen3_moe import EXPERT_NAMES, Qwen3Moe
from circuitgraph.models.families.rope import FIELDS as ROPE_FIELDS
from circuitgraph.models.spec import NormSpec, Spec


@family("qwen2_moe")
class Qwen2Moe(Family):
    """Qwen2MoeForCausalLM."""

    handled = (
        (SIZES - {"intermediate_size"})
        | ROPE_FIELDS
        | EXPERTS
        | {
            "hidden_act",
            "layer_types",
            "moe_intermediate_size",
            "norm_topk_prob",
            "qkv_bias",
            "rms_norm_eps",
            "shared_expert_intermediate_size",
            "sliding_window",
        }
    )
    irrelevant, required = Qwen3Moe.irrelevant, Qwen3Moe.required
    names = {
        **NAMES,
        **EXPERT_NAMES,
        "mlp.shared.gate": "layers.{i}.mlp.shared_expert.gate_proj",
        "mlp.shared.in": "layers.{i}.mlp.shared_expert.up_proj",
        "mlp.shared.out": "layers.{i}.mlp.shared_expert.down_proj",
        "mlp.shared_share": "layers.{i}.mlp.shared_expert_gate",
    }

    def spec(self, config: Config) -> Spec:
        check_sizes(config, "moe_intermediate_size", "shared_expert_intermediate_size")
        size = sizes({**config, "intermediate_size": config["moe_intermediate_size"]})
        norm = NormSpec("rms", config["rms_norm_eps"], cast_first=True)
        return Spec(
            **size,
            **whole_rotary(config, size),
            norm=norm,
            final_norm=norm,
            attn_scales=scales(size),
            windows=windows_by_type(config),
            qkv_bias=config["qkv_bias"],
            activation=activation_named(config["hidden_act"]),
            gated=True,
            experts=replace(
                read_experts(config, renormalise=config["norm_topk_prob"]),
                d_shared=config["shared_expert_intermediate_size"],
                shared_gate=True,
            ),
            tied=config["tie_word_embeddings"],
        )
