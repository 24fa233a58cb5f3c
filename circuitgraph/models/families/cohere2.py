"""Command R7B and Command A: Command R with layers of two kinds.

Most layers have rotary positions and a window, the others have neither.
"""

from __future__ import annotations

from typing import Any

from circuitgraph.models.families import Config, Family, activation_named, family
from circuitgraph.models.families.common import (
    NAMES,
    SIZES,
    fill_layer_types,
    scales,
    sizes,
    whole_rotary,
    windows_by_type,
)
from circuitgraph.models.families.rope import FIELDS as ROPE_FIELDS
from circuitgraph.models.spec import NormSpec, Spec


@family("cohere2")
class Cohere2(Family):
    """Cohere2ForCausalLM."""

    handled = (
        SIZES
        | ROPE_FIELDS
        | {
            "attention_bias",
            "hidden_act",
            "layer_norm_eps",
            "layer_types",
            "logit_scale",
            "sliding_window",
        }
    )
    irrelevant = frozenset(
        {
            "attention_dropout",
            "sliding_window_pattern",  # transformers makes layer_types of it
            # in the checkpoints of its makers, and never read
            *("cache_implementation", "use_parallel_embedding"),
            "layer_switch",  # layer_types counts
            "use_embedding_sharing",  # tie_word_embeddings counts
        }
    )
    # Never read either: transformers' model does what these values say.
    required = {
        "order_of_interleaved_layers": "local_attn_first",
        "position_embedding_type": "rope_gptj",
        "rotary_pct": 1.0,
        "use_gated_activation": True,
        "use_parallel_block": True,
        "use_qk_norm": False,
    }
    names = {**NAMES, "mlp.norm": "layers.{i}.input_layernorm"}  # the attention's, too

    def fill(self, config: dict[str, Any]) -> dict[str, Any]:
        every = config.pop("sliding_window_pattern", 4)
        return fill_layer_types(config, lambda layer: (layer + 1) % every != 0)

    def spec(self, config: Config) -> Spec:
        size, windows = sizes(config), windows_by_type(config)
        norm = NormSpec("layer", config["layer_norm_eps"])
        return Spec(
            **size,
            ropes=whole_rotary(config, size)["ropes"],
            rope_of_layer=tuple(None if window is None else 0 for window in windows),
            rope_pairs="neighbours",
            parallel=True,
            norm=norm,
            final_norm=norm,
            attn_scales=scales(size),
            windows=windows,
            qkv_bias=config["attention_bias"],
            o_bias=config["attention_bias"],
            activation=activation_named(config["hidden_act"]),
            gated=True,
            logit_scale=config["logit_scale"],
            tied=config["tie_word_embeddings"],
        )
