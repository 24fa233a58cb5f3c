"""SmolLM 3: Llama in which every fourth layer has no rotary positions.

Only layers without rotary positions may have a window.
"""

from __future__ import annotations

from typing import Any

from circuitgraph.errors import ModelError
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


@family("smollm3")
class SmolLM3(Family):
    """SmolLM3ForCausalLM."""

    handled = (
        SIZES
        | ROPE_FIELDS
        | {
            "attention_bias",
            "hidden_act",
            "layer_types",
            "mlp_bias",
            "no_rope_layers",
            "rms_norm_eps",
            "sliding_window",
            "use_sliding_window",
        }
    )
    irrelevant = frozenset(
        {
            "attention_dropout",
            "pretraining_tp",
            "max_window_layers",  # nobody reads it
            "no_rope_layer_interval",  # transformers makes no_rope_layers of it
        }
    )
    names = NAMES

    def fill(self, config: dict[str, Any]) -> dict[str, Any]:
        every, has_window = config["no_rope_layer_interval"], config["use_sliding_window"]
        if config["no_rope_layers"] is None:
            layers = range(config["num_hidden_layers"])
            config["no_rope_layers"] = [int((layer + 1) % every != 0) for layer in layers]
        rotates, window = config["no_rope_layers"], config["sliding_window"]
        return fill_layer_types(
            config, lambda layer: has_window and window is not None and not rotates[layer]
        )

    def spec(self, config: Config) -> Spec:
        size = sizes(config)
        norm = NormSpec("rms", config["rms_norm_eps"], cast_first=True)
        return Spec(
            **size,
            ropes=whole_rotary(config, size)["ropes"],
            rope_of_layer=_rope_of_layer(config),
            norm=norm,
            final_norm=norm,
            attn_scales=scales(size),
            windows=_layer_windows(config),
            qkv_bias=config["attention_bias"],
            o_bias=config["attention_bias"],
            activation=activation_named(config["hidden_act"]),
            gated=True,
            mlp_bias=config["mlp_bias"],
            tied=config["tie_word_embeddings"],
        )


def _rope_of_layer(config: Config) -> tuple[int | None, ...]:
    """The rotary embedding of each layer: 1 in ``no_rope_layers`` means that a layer does rotate.

    The list may have more entries than there are layers.
    """
    rotates, n_layers = config["no_rope_layers"], config["num_hidden_layers"]
    if len(rotates) < n_layers:
        raise ModelError(
            f"no_rope_layers lists {len(rotates)} layers, but num_hidden_layers = {n_layers}."
        )
    return tuple(0 if rotate else None for rotate in rotates[:n_layers])


def _layer_windows(config: Config) -> tuple[int | None, ...]:
    """As `windows_by_type`, but ``sliding_window`` counts only if it is to be used."""
    windows = windows_by_type(config)
    if windows and not config["use_sliding_window"]:
        raise ModelError(
            "layer_types has sliding layers, but use_sliding_window is false: transformers lets "
            "them slide in some of its implementations of attention and not in others."
        )
    return windows
