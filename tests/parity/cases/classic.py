"""GPT-2, GPT-Neo, GPT-NeoX, GPT-J, OPT, BLOOM, GPT-BigCode, Phi and Falcon."""

from __future__ import annotations

from typing import Any

from tests.parity.cases.sizes import GROUPED, SIZES

GPT_SIZES: dict[str, Any] = {
    "vocab_size": 50,
    "n_embd": 24,
    "n_layer": 3,
    "n_head": 4,
    "n_positions": 17,
}
PLAIN_SIZES: dict[str, Any] = {key: SIZES[key] for key in SIZES if key != "intermediate_size"}

CASES: dict[str, dict[str, Any]] = {
    "gpt2": {
        **GPT_SIZES,
        "n_inner": 40,
        "activation_function": "relu",
        "layer_norm_epsilon": 3e-3,
        "scale_attn_by_inverse_layer_idx": True,
        "scale_attn_weights": False,
        "tie_word_embeddings": False,
    },
    "gpt2: tied, four times as wide": GPT_SIZES,
    "gpt_neo": {
        "vocab_size": 50,
        "hidden_size": 24,
        "num_layers": 3,
        "num_heads": 4,
        "max_position_embeddings": 17,
        "attention_types": [[["local", "global"], 1], [["local"], 1]],
        "window_size": 3,
        "activation_function": "relu",
        "layer_norm_epsilon": 3e-3,
        "tie_word_embeddings": False,
        "intermediate_size": 40,
    },
    "gpt_neo: tied, four times as wide": {
        "vocab_size": 50,
        "hidden_size": 24,
        "num_layers": 2,
        "num_heads": 4,
        "max_position_embeddings": 17,
        "attention_types": [[["global", "local"], 1]],
        "window_size": 3,
    },
    "gpt_neox": {
        **SIZES,
        "hidden_act": "gelu_fast",
        "layer_norm_eps": 3e-3,
        "tie_word_embeddings": True,
        "use_parallel_residual": False,
        "attention_bias": False,
        "rope_parameters": {
            "rope_theta": 100.0,
            "partial_rotary_factor": 0.7,
            "rope_type": "linear",
            "factor": 4.0,
        },
    },
    "gpt_neox: parallel": SIZES
    | {"num_attention_heads": 3, "rope_parameters": {"rope_theta": 100.0}},
    "gpt_neox: yarn": {
        **SIZES,
        "num_attention_heads": 3,
        "rope_parameters": {
            "rope_theta": 100.0,
            "partial_rotary_factor": 1.0,
            "rope_type": "yarn",
            "factor": 4.0,
            "original_max_position_embeddings": 6,
        },
    },
    "gptj": {
        **GPT_SIZES,
        "rotary_dim": 4,
        "n_inner": 40,
        "activation_function": "silu",
        "layer_norm_epsilon": 3e-3,
        "tie_word_embeddings": True,
    },
    "gptj: untied, four times as wide": GPT_SIZES | {"rotary_dim": 6},
    "opt": {
        **PLAIN_SIZES,
        "ffn_dim": 40,
        "activation_function": "gelu",
        "_remove_final_layer_norm": True,
        "enable_bias": False,
        "layer_norm_elementwise_affine": False,
        "tie_word_embeddings": False,
        "word_embed_proj_dim": 24,
    },
    "opt: with biases": PLAIN_SIZES | {"ffn_dim": 40},
    "bloom": {
        "vocab_size": 50,
        "hidden_size": 24,
        "n_layer": 3,
        "n_head": 12,  # slopes that are no powers of two
        "layer_norm_epsilon": 3e-3,
        "tie_word_embeddings": False,
    },
    "bloom: a power of two of heads": {
        "vocab_size": 50,
        "hidden_size": 24,
        "n_layer": 3,
        "n_head": 4,
    },
    "gpt_bigcode": {
        **GPT_SIZES,
        "n_inner": 40,
        "activation_function": "relu",
        "layer_norm_epsilon": 3e-3,
        "scale_attn_weights": False,
        "multi_query": False,
        "tie_word_embeddings": False,
    },
    "gpt_bigcode: one key-value head": GPT_SIZES,
    "phi": {
        **GROUPED,
        "head_dim": 8,
        "hidden_act": "silu",
        "layer_norm_eps": 3e-3,
        "tie_word_embeddings": True,
        "rope_parameters": {
            "rope_theta": 100.0,
            "partial_rotary_factor": 0.75,
            "rope_type": "linear",
            "factor": 4.0,
        },
    },
    "phi: normed queries and keys": GROUPED
    | {"qk_layernorm": True, "rope_parameters": {"partial_rotary_factor": 0.7}},
    "falcon": {
        **PLAIN_SIZES,
        "new_decoder_architecture": True,
        "num_kv_heads": 2,
        "ffn_hidden_size": 40,
        "activation": "silu",
        "layer_norm_epsilon": 3e-3,
        "bias": True,
        "tie_word_embeddings": False,
        "rope_parameters": {"rope_type": "linear", "rope_theta": 100.0, "factor": 4.0},
    },
    "falcon: one norm, groups": PLAIN_SIZES
    | {
        "new_decoder_architecture": True,
        "num_kv_heads": 2,
        "num_ln_in_parallel_attn": 1,
        "multi_query": False,
    },
    "falcon: one norm, one group": PLAIN_SIZES
    | {"rope_parameters": {"rope_type": "default", "rope_theta": 100.0}},
    "falcon: sequential": PLAIN_SIZES
    | {"parallel_attn": False, "multi_query": False, "bias": True},
    "falcon: alibi": PLAIN_SIZES
    | {
        "parallel_attn": False,
        "multi_query": False,
        "bias": True,
        "alibi": True,
        "num_attention_heads": 12,
    },
}
