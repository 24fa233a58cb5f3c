"""Nemotron 3 and 4, Minitron: LayerNorm times 1 + weight, partial rotation, a plain MLP."""

from __future__ import annotations

from circuitgraph.models.families import Config, Family, activation_named, family
from circuitgraph.models.families.arcee import Arcee
from circuitgraph.models.families.common import SIZES, same_rotary, scales, sizes
from circuitgraph.models.families.rope import FIELDS as ROPE_FIELDS
from circuitgraph.models.spec import NormSpec, Spec


@family("nemotron")
class Nemotron(Family):
    """NemotronForCausalLM."""

    handled = SIZES | ROPE_FIELDS | {"attention_bias", "hidden_act", "mlp_bias", "norm_eps"}
    irrelevant = frozenset({"attention_dropout"})
    names = Arcee.names

    def spec(self, config: Config) -> Spec:
        size = sizes(config)
        norm = NormSpec("layer", config["norm_eps"], bias=True, offset=1.0)
        return Spec(
            **size,
            **same_rotary(config, size),
            norm=norm,
            final_norm=norm,
            attn_scales=scales(size),
            qkv_bias=config["attention_bias"],
            o_bias=config["attention_bias"],
            activation=activation_named(config["hidden_act"]),
            mlp_bias=config["mlp_bias"],
            tied=config["tie_word_embeddings"],
        )
