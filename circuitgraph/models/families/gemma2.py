"""Gemma 2: norms before and after each sublayer, windows on some layers, soft caps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from circuitgraph.models.families import Config, Family, activation_named, check_sizes, family
from circuitgraph.models.families.common import (
    NAMES,
    SIZES,
    fill_layer_types,
    scales,
    sizes,
    whole_rotary,
    windows_by_type,
)
from circuitgraph.models.families.gemma import check_causal, norm_of
from circuitgraph.models.families.rope import FIELDS as ROPE_FIELDS
from circuitgraph.models.spec import NormSpec, Spec


@family("gemma2")
class Gemma2(Family):
    """Gemma2ForCausalLM."""

    handled = (
        SIZES
        | ROPE_FIELDS
        | {
            "attn_logit_softcapping",
            "final_logit_softcapping",
            "hidden_activation",
            "layer_types",
            "query_pre_attn_scalar",
            "rms_norm_eps",
            "sliding_window",
            "use_bidirectional_attention",
        }
    )
    irrelevant = frozenset(
        {
            "attention_dropout",
            # in some files on the hub
            "cache_implementation",
            "hidden_act",  # hidden_activation counts
            "sliding_window_size",  # sliding_window counts
        }
    )
    # A bias of the output projection, inside a norm, would be no part of the stream that a head or
    # a constant writes.
    required = {"attention_bias": False}
    names = {
        **NAMES,
        "attention.post_norm": "layers.{i}.post_attention_layernorm",
        "mlp.norm": "layers.{i}.pre_feedforward_layernorm",
        "mlp.post_norm": "layers.{i}.post_feedforward_layernorm",
    }

    def fill(self, config: dict[str, Any]) -> dict[str, Any]:
        return fill_layer_types(config, lambda layer: layer % 2 == 0)

    def spec(self, config: Config) -> Spec:
        size = sizes(config)
        return Spec(
            **gemma_fields(config, size, norm_of(config)),
            **whole_rotary(config, size),
            attn_softcap=config["attn_logit_softcapping"],
        )


def gemma_fields(config: Config, size: Mapping[str, Any], norm: NormSpec) -> dict[str, Any]:
    """What Gemma 2 and 3 have in common."""
    check_causal(config)
    check_sizes(config, "query_pre_attn_scalar")
    return {
        **size,
        "norm": norm,
        "final_norm": norm,
        "post_norm": norm,
        "attn_scales": scales(size, config["query_pre_attn_scalar"] ** -0.5),
        "windows": windows_by_type(config),
        "activation": activation_named(config["hidden_activation"]),
        "gated": True,
        "embed_scale": size["d_model"] ** 0.5,
        "logit_softcap": config["final_logit_softcapping"],
        "tied": config["tie_word_embeddings"],
    }
