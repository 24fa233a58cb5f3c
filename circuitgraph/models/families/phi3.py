"""Phi 3, 3.5, 4 and 4-mini: Llama with fused projections and LongRoPE.

Some of these models have one window in all layers, or rotate only some dimensions.
"""

from __future__ import annotations

from typing import Any

from circuitgraph.errors import ModelError
from circuitgraph.models.families import Config, Family, activation_named, family
from circuitgraph.models.families.common import (
    NAMES,
    SIZES,
    gate_up_blocks,
    same_rotary,
    same_window,
    scales,
    sizes,
)
from circuitgraph.models.families.rope import FIELDS as ROPE_FIELDS
from circuitgraph.models.parameters import qkv_blocks
from circuitgraph.models.spec import NormSpec, Spec


@family("phi3")
class Phi3(Family):
    """Phi3ForCausalLM."""

    handled = SIZES | ROPE_FIELDS | {"hidden_act", "rms_norm_eps", "sliding_window"}
    irrelevant = frozenset({"attention_dropout", "embd_pdrop", "resid_pdrop"})
    # Fields of checkpoints with code of their own, which transformers' model does not read.
    required = {
        "attention_bias": False,
        "full_attn_mod": 1,
        "interpolate_factor": 1,
        "lm_head_bias": False,
        "mlp_bias": False,
    }
    names = {
        **NAMES,
        **qkv_blocks("layers.{i}.self_attn.qkv_proj"),
        **gate_up_blocks("layers.{i}.mlp.gate_up_proj"),
    }

    def fill(self, config: dict[str, Any]) -> dict[str, Any]:
        rope = config.get("rope_scaling") or config["rope_parameters"] or {}
        kind = rope.get("rope_type", rope.get("type", "default"))
        if kind not in ("default", "longrope", "su"):
            raise ModelError(f"rope_type = {kind!r}: Phi 3 has LongRoPE or no scaling.")
        return config

    def spec(self, config: Config) -> Spec:
        size = sizes(config)
        norm = NormSpec("rms", config["rms_norm_eps"], cast_first=True)
        return Spec(
            **size,
            **same_rotary(config, size),
            norm=norm,
            final_norm=norm,
            attn_scales=scales(size),
            windows=same_window(config, size),
            activation=activation_named(config["hidden_act"]),
            gated=True,
            tied=config["tie_word_embeddings"],
        )
