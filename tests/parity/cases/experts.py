"""Mixtures of experts with more than a router: biases, shared experts, sinks."""

from __future__ import annotations

from typing import Any

from tests.parity.cases.sizes import GROUPED

_LINEAR: dict[str, Any] = {"rope_type": "linear", "rope_theta": 100.0, "factor": 3.0}
_RMS: dict[str, Any] = {**GROUPED, "rms_norm_eps": 3e-3, "tie_word_embeddings": True}
_LAYERS = ["full_attention", "sliding_attention", "full_attention"]
_ROUTED: dict[str, Any] = {"num_experts": 6, "num_experts_per_tok": 3}

CASES: dict[str, dict[str, Any]] = {
    "gpt_oss": {
        **_RMS,
        "num_local_experts": 5,
        "num_experts_per_tok": 2,
        "head_dim": 8,
        "max_position_embeddings": 24,
        "attention_bias": False,
        "layer_types": _LAYERS,
        "sliding_window": 4,
        "swiglu_limit": 0.7,
        "rope_parameters": {
            **{"rope_type": "yarn", "rope_theta": 100.0, "factor": 4.0, "truncate": False},
            **{"original_max_position_embeddings": 6, "beta_fast": 0.25, "beta_slow": 0.05},
        },
    },
    "gpt_oss: biases, layer types by default": {
        **GROUPED,
        "num_local_experts": 3,
        "num_experts_per_tok": 1,
        "head_dim": 6,
        "sliding_window": 3,
        "rope_parameters": {"rope_type": "default", "rope_theta": 50.0},
    },
    "qwen2_moe": {
        **_RMS,
        **_ROUTED,
        "head_dim": 8,
        "hidden_act": "gelu",
        "moe_intermediate_size": 16,
        "shared_expert_intermediate_size": 20,
        "norm_topk_prob": True,
        "qkv_bias": False,
        "use_sliding_window": True,
        "sliding_window": 4,
        "layer_types": _LAYERS,
        "rope_parameters": _LINEAR,
    },
    "qwen2_moe: weights as they are, biases": {
        **GROUPED,
        "num_experts": 4,
        "num_experts_per_tok": 2,
        "moe_intermediate_size": 16,
        "shared_expert_intermediate_size": 20,
        "rope_theta": 50.0,
    },
    "glm4_moe": {
        **_RMS,
        "num_experts_per_tok": 3,
        "n_routed_experts": 6,
        "n_shared_experts": 2,
        "head_dim": 8,
        "hidden_act": "gelu",
        "attention_bias": True,
        "first_k_dense_replace": 0,
        "moe_intermediate_size": 16,
        "norm_topk_prob": False,
        "routed_scaling_factor": 1.7,
        "use_qk_norm": True,
        "rope_parameters": {**_LINEAR, "partial_rotary_factor": 0.75},
    },
    "glm4_moe: weights that sum to one": {
        **GROUPED,
        "num_experts_per_tok": 2,
        "n_routed_experts": 4,
        "head_dim": 8,
        "first_k_dense_replace": 0,
        "moe_intermediate_size": 16,
        "rope_theta": 50.0,
    },
    "olmoe": {
        **_RMS,
        **_ROUTED,
        "hidden_act": "gelu",
        "attention_bias": True,
        "norm_topk_prob": True,
        "rope_parameters": _LINEAR,
    },
}
