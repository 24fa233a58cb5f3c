"""Small sizes, as most families call them."""

from __future__ import annotations

from typing import Any

SIZES: dict[str, Any] = {
    "vocab_size": 50,
    "hidden_size": 24,
    "intermediate_size": 40,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "max_position_embeddings": 17,
}
GROUPED: dict[str, Any] = {**SIZES, "num_key_value_heads": 2}
