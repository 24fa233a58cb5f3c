"""EXAONE 4: sublayers read the stream without a norm and norm their output, as in OLMo 2.

Queries and keys are normed by head. Where there is a window, the layers with it rotate and the
others do not.
"""

from __future__ import annotations

from circuitgraph.models.families import Config, Family, activation_named, family
from circuitgraph.models.families.common import (
    SIZES,
    scales,
    sizes,
    whole_rotary,
    windows_by_type,
)
from circuitgraph.models.families.olmo2 import Olmo2
from circuitgraph.models.families.rope import FIELDS as ROPE_FIELDS
from circuitgraph.models.spec import NormSpec, Spec


@family("exaone4")
class Exaone4(Family):
    """Exaone4ForCausalLM."""

    handled = SIZES | ROPE_FIELDS | {"hidden_act", "layer_types", "rms_norm_eps", "sliding_window"}
    # transformers makes layer_types of the pattern
    irrelevant = frozenset({"attention_dropout", "sliding_window_pattern"})
    names = Olmo2.names

    def spec(self, config: Config) -> Spec:
        size, windows = sizes(config), windows_by_type(config)
        norm = NormSpec("rms", config["rms_norm_eps"], cast_first=True)
        all_rotate = config["sliding_window"] is None
        return Spec(
            **size,
            ropes=whole_rotary(config, size)["ropes"],
            rope_of_layer=tuple(
                0 if all_rotate or kind == "sliding_attention" else None
                for kind in config["layer_types"]
            ),
            norm=None,
            final_norm=norm,
            post_norm=norm,
            qk_norm=norm,
            attn_scales=scales(size),
            windows=windows,
            activation=activation_named(config["hidden_act"]),
            gated=True,
            tied=config["tie_word_embeddings"],
        )
