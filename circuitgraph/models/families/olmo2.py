"""OLMo 2: sublayers read the stream without a norm and norm their output.

Queries and keys are normed over all heads at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from circuitgraph.models.families import Config, Family, activation_named, family
from circuitgraph.models.families.common import NAMES, SIZES, scales, sizes, whole_rotary
from circuitgraph.models.families.rope import FIELDS as ROPE_FIELDS
from circuitgraph.models.spec import NormSpec, Spec


def olmo_fields(config: Config, size: Mapping[str, Any]) -> dict[str, Any]:
    """What OLMo 2 and 3 have in common."""
    norm = NormSpec("rms", config["rms_norm_eps"])
    return {
        **size,
        "norm": None,
        "final_norm": norm,
        "post_norm": norm,
        "qk_norm": norm,
        "qk_norm_over": "width",
        "attn_scales": scales(size),
        "activation": activation_named(config["hidden_act"]),
        "gated": True,
        "tied": config["tie_word_embeddings"],
    }


@family("olmo2")
class Olmo2(Family):
    """Olmo2ForCausalLM."""

    handled = SIZES | ROPE_FIELDS | {"hidden_act", "rms_norm_eps"}
    irrelevant = frozenset({"attention_dropout", "pretraining_tp"})
    # A bias of the output projection, inside a norm, would be no part of the stream that a head or
    # a constant writes.
    required = {"attention_bias": False}
    names = {
        **{
            ours: theirs
            for ours, theirs in NAMES.items()
            if ours not in ("attention.norm", "mlp.norm")
        },
        "attention.q_norm": "layers.{i}.self_attn.q_norm",
        "attention.k_norm": "layers.{i}.self_attn.k_norm",
        "attention.post_norm": "layers.{i}.post_attention_layernorm",
        "mlp.post_norm": "layers.{i}.post_feedforward_layernorm",
    }

    def spec(self, config: Config) -> Spec:
        size = sizes(config)
        return Spec(**olmo_fields(config, size), **whole_rotary(config, size))
