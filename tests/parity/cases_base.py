"""Configurations of every family with each field that matters away from its default."""

from __future__ import annotations

from typing import Any

SIZES: dict[str, Any] = {  # as most families call them; the head size is not d / heads
    "vocab_size": 50,
    "hidden_size": 24,
    "intermediate_size": 40,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "max_position_embeddings": 17,
}
GROUPED: dict[str, Any] = {**SIZES, "num_key_value_heads": 2}

CASES: dict[str, dict[str, Any]] = {
    "llama": {
        **GROUPED,
        "head_dim": 8,
        "hidden_act": "gelu",
        "rms_norm_eps": 3e-3,
        "attention_bias": True,
        "mlp_bias": True,
        "tie_word_embeddings": True,
        "rope_parameters": {
            "rope_type": "llama3",
            "rope_theta": 100.0,
            "factor": 8.0,
            "low_freq_factor": 0.5,
            "high_freq_factor": 2.0,
            "original_max_position_embeddings": 6,
        },
    },
}
"""Model type, or "model type: what is special" -> config fields."""
