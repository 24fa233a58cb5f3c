"""Gemma, OLMo, Granite and Cohere."""

from __future__ import annotations

from typing import Any

from tests.parity.cases.sizes import GROUPED

_GEMMA: dict[str, Any] = {
    **GROUPED,
    "head_dim": 8,
    "rms_norm_eps": 3e-3,
    "tie_word_embeddings": False,
}
_LAYERS = ["full_attention", "sliding_attention", "full_attention"]
_GEMMA2: dict[str, Any] = {
    **_GEMMA,
    "hidden_activation": "relu",
    "layer_types": _LAYERS,
    "query_pre_attn_scalar": 5,
    "sliding_window": 4,
    "final_logit_softcapping": 3.0,
}
_GEMMA3: dict[str, Any] = {
    **_GEMMA2,
    "use_bidirectional_attention": None,
    "rope_parameters": {
        "full_attention": {"rope_type": "linear", "rope_theta": 300.0, "factor": 3.0},
        "sliding_attention": {"rope_type": "default", "rope_theta": 50.0},
    },
}
_OLMO: dict[str, Any] = {
    **GROUPED,
    "head_dim": 8,
    "hidden_act": "gelu",
    "tie_word_embeddings": True,
}
_OLMO2: dict[str, Any] = {**_OLMO, "rms_norm_eps": 3e-3}
_YARN: dict[str, Any] = {  # so that few dimensions and tokens show each of these
    **{
        "rope_type": "yarn",
        "rope_theta": 100.0,
        "factor": 4.0,
        "original_max_position_embeddings": 6,
    },
    **{"beta_fast": 0.25, "beta_slow": 0.05},
}

CASES: dict[str, dict[str, Any]] = {
    "gemma": {
        **_GEMMA,
        "hidden_act": "relu",
        "hidden_activation": "relu",
        "attention_bias": True,
        "use_bidirectional_attention": False,
        "rope_parameters": {"rope_type": "linear", "rope_theta": 100.0, "factor": 2.0},
    },
    "gemma: tied, one key-value head, gelu by its old name": {
        **_GEMMA,
        "num_key_value_heads": 1,
        "hidden_act": "gelu",
        "tie_word_embeddings": True,
    },
    "gemma2": {
        **_GEMMA2,
        "attn_logit_softcapping": 2.0,
        "use_bidirectional_attention": False,
        "rope_parameters": {"rope_type": "default", "rope_theta": 100.0},
    },
    "gemma2: layer types by default, caps off": {
        **GROUPED,
        "head_dim": 8,
        "sliding_window": 5,
        "attn_logit_softcapping": None,
        "final_logit_softcapping": None,
    },
    "gemma3_text": _GEMMA3,
    "gemma3_text: layer types by a pattern, old names of the rotation": {
        **GROUPED,
        "head_dim": 8,
        "sliding_window": 5,
        "sliding_window_pattern": 2,
        "rope_theta": 100.0,
        "rope_local_base_freq": 20.0,
        "rope_scaling": {"rope_type": "linear", "factor": 3.0},
    },
    "gemma3": {
        "text_config": {**_GEMMA3, "final_logit_softcapping": None},
        "vision_config": {
            "hidden_size": 8,
            "intermediate_size": 8,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "image_size": 28,
            "patch_size": 14,
        },
        "mm_tokens_per_image": 4,
        "image_token_index": 49,
        "tie_word_embeddings": False,
    },
    "olmo": {
        **_OLMO,
        "attention_bias": True,
        "clip_qkv": 0.8,
        "rope_parameters": {"rope_type": "dynamic", "rope_theta": 100.0, "factor": 2.0},
        "max_position_embeddings": 9,
    },
    "olmo: untied, no clipping": {
        **GROUPED,
        "rope_parameters": {"rope_type": "default", "rope_theta": 100.0},
    },
    "olmo2": {**_OLMO2, "rope_parameters": {"rope_type": "default", "rope_theta": 100.0}},
    "olmo3": {
        **_OLMO2,
        "layer_types": _LAYERS,
        "sliding_window": 4,
        "rope_parameters": {
            "full_attention": _YARN,
            "sliding_attention": {"rope_type": "default", "rope_theta": 50.0},
        },
    },
    "olmo3: layer types by default, old names of the rotation": {
        **GROUPED,
        "num_hidden_layers": 5,
        "sliding_window": 3,
        "rope_theta": 100.0,
        "rope_scaling": {key: value for key, value in _YARN.items() if key != "rope_theta"},
    },
    "granite": {
        **GROUPED,
        "head_dim": 8,
        "hidden_act": "gelu",
        "rms_norm_eps": 3e-3,
        "attention_bias": True,
        "mlp_bias": True,
        "attention_multiplier": 0.2,
        "embedding_multiplier": 3.0,
        "logits_scaling": 4.0,
        "residual_multiplier": 0.3,
        "tie_word_embeddings": True,
        "rope_parameters": {**_YARN, "truncate": False},
    },
    "cohere": {
        **GROUPED,
        "head_dim": 8,
        "hidden_act": "gelu",
        "layer_norm_eps": 3e-3,
        "attention_bias": True,
        "logit_scale": 0.3,
        "use_qk_norm": True,
        "tie_word_embeddings": False,
        "rope_parameters": {"rope_type": "linear", "rope_theta": 100.0, "factor": 2.0},
    },
    "cohere: tied, queries and keys not normed": {**GROUPED, "head_dim": 8, "logit_scale": 0.3},
    "cohere2": {
        **GROUPED,
        "head_dim": 8,
        "hidden_act": "gelu",
        "layer_norm_eps": 3e-3,
        "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
        "sliding_window": 4,
        "attention_bias": True,
        "logit_scale": 0.3,
        "tie_word_embeddings": False,
        "rope_parameters": {"rope_type": "linear", "rope_theta": 100.0, "factor": 2.0},
    },
    "cohere2: tied, layer types by a pattern": {
        **GROUPED,
        "sliding_window": 3,
        "sliding_window_pattern": 3,
        "rope_theta": 100.0,
        "logit_scale": 0.3,
    },
}
