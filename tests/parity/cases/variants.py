"""Families made of parts that other families have: what they share with Llama, Gemma, OLMo, GPT-J
or BLOOM, put together another way.
"""

from __future__ import annotations

from typing import Any

from tests.parity.cases.classic import GPT_SIZES
from tests.parity.cases.sizes import GROUPED, SIZES

_LINEAR: dict[str, Any] = {"rope_type": "linear", "rope_theta": 100.0, "factor": 3.0}
_PARTIAL: dict[str, Any] = {**_LINEAR, "partial_rotary_factor": 0.75}
_LLAMA3: dict[str, Any] = {
    **{"rope_type": "llama3", "rope_theta": 100.0, "factor": 8.0},
    **{"low_freq_factor": 0.5, "high_freq_factor": 2.0, "original_max_position_embeddings": 6},
}
_RMS: dict[str, Any] = {
    **GROUPED,
    "head_dim": 8,
    "hidden_act": "gelu",
    "rms_norm_eps": 3e-3,
    "tie_word_embeddings": True,
    "rope_parameters": _LINEAR,
}
_BIASES: dict[str, Any] = {"attention_bias": True, "mlp_bias": True}
_LAYERS = ["full_attention", "sliding_attention", "full_attention"]
_WINDOWS: dict[str, Any] = {"layer_types": _LAYERS, "sliding_window": 4}
_GLM: dict[str, Any] = {
    **_RMS,
    "num_key_value_heads": 1,
    "attention_bias": False,
    "rope_parameters": _PARTIAL,
}

CASES: dict[str, dict[str, Any]] = {
    "arcee": {**_RMS, **_BIASES},
    "cwm": {**_RMS, "bos_token_id": 1, **_WINDOWS, "mlp_bias": True, "rope_parameters": _LLAMA3},
    "ernie4_5": {**_RMS, "num_key_value_heads": 1, "use_bias": True, "tie_word_embeddings": False},
    "exaone": {**_RMS, **_BIASES},
    "exaone4": {**_RMS, **_WINDOWS},
    "exaone4: no window": {**_RMS, "sliding_window": None, "layer_types": ["full_attention"] * 3},
    "glm": _GLM,
    "glm: biases": {**_GLM, "attention_bias": True},
    "glm4": _GLM,
    "helium": {**_RMS, **_BIASES, "head_dim": 6},
    "internlm3": {**_RMS, **_BIASES, "num_key_value_heads": 1},
    "iquestcoder": {**_RMS, **_BIASES},
    "ministral": {**_RMS, **_WINDOWS},
    "ministral: one window": {**GROUPED, "head_dim": 6, "sliding_window": 3, "rope_theta": 50.0},
    "nanochat": {**_RMS, "attention_bias": True, "final_logit_softcapping": 3.0},
    "seed_oss": {
        **_RMS,
        "attention_bias": False,
        "attention_out_bias": True,
        "mlp_bias": True,
    },
    "seed_oss: biases of queries, keys and values": {**_RMS, "attention_bias": True},
    "vaultgemma": {
        **{name: value for name, value in _RMS.items() if name != "hidden_act"},
        **_WINDOWS,
        "hidden_activation": "relu",
        "attention_bias": True,
        "query_pre_attn_scalar": 5,
        "attn_logit_softcapping": 2.0,
        "final_logit_softcapping": 3.0,
        "tie_word_embeddings": False,
    },
    "nemotron": {
        **GROUPED,
        **_BIASES,
        "head_dim": 8,
        "hidden_act": "gelu",
        "norm_eps": 3e-3,
        "tie_word_embeddings": True,
        "rope_parameters": _PARTIAL,
    },
    "persimmon": {
        **SIZES,
        "hidden_size": 32,
        "hidden_act": "gelu",
        "layer_norm_eps": 3e-3,
        "qk_layernorm": False,
        "tie_word_embeddings": True,
        "rope_parameters": _PARTIAL,
    },
    "persimmon: normed queries and keys": {
        **SIZES,
        "hidden_size": 32,
        "rope_parameters": {"rope_theta": 50.0, "partial_rotary_factor": 0.5},
    },
    "codegen": {
        **GPT_SIZES,
        "n_head": 6,
        "rotary_dim": 2,
        "n_inner": 40,
        "activation_function": "silu",
        "layer_norm_epsilon": 3e-3,
        "tie_word_embeddings": True,
    },
    "mpt": {
        "vocab_size": 50,
        "d_model": 24,
        "n_layers": 3,
        "n_heads": 6,  # slopes of eight heads
        "max_seq_len": 17,
        "layer_norm_epsilon": 3e-3,
        "attn_config": {"clip_qkv": 0.8, "softmax_scale": 0.3},
        "tie_word_embeddings": False,
    },
    "mpt: a power of two of heads": {
        "vocab_size": 50,
        "d_model": 24,
        "n_layers": 2,
        "n_heads": 4,
        "max_seq_len": 17,
    },
}
