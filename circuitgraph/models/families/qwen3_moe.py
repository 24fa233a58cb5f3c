"""Qwen 3 with a mixture of experts in every layer, whose weights sum to one or not."""

from __future__ import annotations

from typing import Any

from circuitgraph.models.families import Config, Family, activation_named, check_sizes, family
from circuitgraph.models.families.common import (
    NAMES,
    SIZES,
    WINDOW_SOURCES,
    same_window,
    scales,
    sizes,
    whole_rotary,
)
from circuitgraph.models.families.mixtral import (
    EXPERTS,
    TRAINING,
    fill_experts,
    read_experts,
)
from circuitgraph.models.families.qwen3 import QK_NORM_NAMES
from circuitgraph.models.families.rope import FIELDS as ROPE_FIELDS
from circuitgraph.models.spec import NormSpec, Spec

EXPERT_NAMES = {
    "mlp.router": "layers.{i}.mlp.gate",
    "mlp.gate": "layers.{i}.mlp.experts.{e}.gate_proj",
    "mlp.in": "layers.{i}.mlp.experts.{e}.up_proj",
    "mlp.out": "layers.{i}.mlp.experts.{e}.down_proj",
}


@family("qwen3_moe")
class Qwen3Moe(Family):
    """Qwen3MoeForCausalLM. Unlike in Qwen 3, a sliding window is one of all layers."""

    handled = (
        (SIZES - {"intermediate_size"})
        | ROPE_FIELDS
        | EXPERTS
        | {
            "attention_bias",
            "hidden_act",
            "moe_intermediate_size",
            "norm_topk_prob",
            "rms_norm_eps",
            "sliding_window",
        }
    )
    # intermediate_size is the size of layers without experts.
    irrelevant = TRAINING | WINDOW_SOURCES | {"intermediate_size"}
    # Layers without experts among those with them: all layers of a `Spec` have the same parts.
    required = {"decoder_sparse_step": 1, "mlp_only_layers": []}
    names = {
        **NAMES,
        **QK_NORM_NAMES,
        **EXPERT_NAMES,
    }

    def fill(self, config: dict[str, Any]) -> dict[str, Any]:
        if not config["use_sliding_window"]:
            config["sliding_window"] = None
        config["mlp_only_layers"] = config["mlp_only_layers"] or []
        return fill_experts(config)

    def spec(self, config: Config) -> Spec:
        check_sizes(config, "moe_intermediate_size")
        size = sizes({**config, "intermediate_size": config["moe_intermediate_size"]})
        norm = NormSpec("rms", config["rms_norm_eps"], cast_first=True)
        return Spec(
            **size,
            **whole_rotary(config, size),
            norm=norm,
            final_norm=norm,
            qk_norm=norm,
            attn_scales=scales(size),
            windows=same_window(config, size),
            qkv_bias=config["attention_bias"],
            o_bias=config["attention_bias"],
            activation=activation_named(config["hidden_act"]),
            gated=True,
            experts=read_experts(config, renormalise=config["norm_topk_prob"]),
            tied=config["tie_word_embeddings"],
        )
