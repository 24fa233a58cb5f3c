"""nanochat: norms without weights, of the embedding too, and a plain MLP with squared ReLU.

Heads turn the other way round, and norm their queries and keys after that.
"""

from __future__ import annotations

from dataclasses import replace

from circuitgraph.errors import ModelError
from circuitgraph.models.families import Config, Family, activation_named, family
from circuitgraph.models.families.common import NAMES, SIZES, scales, sizes, whole_rotary
from circuitgraph.models.families.rope import FIELDS as ROPE_FIELDS
from circuitgraph.models.spec import NormSpec, Rope, Spec


@family("nanochat")
class NanoChat(Family):
    """NanoChatForCausalLM."""

    handled = (
        SIZES
        | ROPE_FIELDS
        | {"attention_bias", "final_logit_softcapping", "hidden_act", "rms_norm_eps"}
    )
    irrelevant = frozenset({"attention_dropout"})
    names = {
        **{ours: theirs for ours, theirs in NAMES.items() if ours != "mlp.gate"},
        "mlp.in": "layers.{i}.mlp.fc1",
        "mlp.out": "layers.{i}.mlp.fc2",
    }

    def spec(self, config: Config) -> Spec:
        size = sizes(config)
        rotary = whole_rotary(config, size)
        norm = NormSpec("rms", config["rms_norm_eps"], weight=False)
        return Spec(
            **size,
            ropes=(_turn_back(rotary["ropes"][0]),),
            rope_of_layer=rotary["rope_of_layer"],
            norm=norm,
            final_norm=norm,
            embed_norm=norm,
            # A turn changes no length, so that norm and rotation may be exchanged.
            qk_norm=norm,
            attn_scales=scales(size),
            qkv_bias=config["attention_bias"],
            o_bias=config["attention_bias"],
            activation=activation_named(config["hidden_act"]),
            logit_softcap=config["final_logit_softcapping"],
            tied=config["tie_word_embeddings"],
        )


def _turn_back(rope: Rope) -> Rope:
    """The rotation by the negative angles."""
    if rope.factor != 1.0 or rope.context is not None:
        raise ModelError(
            "rope_parameters: a scaling with a factor of its own, or by the length of the prompt, "
            "is not implemented in nanochat, which norms queries and keys after the rotation."
        )
    return replace(rope, frequencies=tuple(-frequency for frequency in rope.frequencies))
