"""Persimmon 8B: sequential GPT-NeoX that norms each head's queries and keys."""

from __future__ import annotations

from circuitgraph.models.families import Config, Family, activation_named, family
from circuitgraph.models.families.common import SIZES, same_rotary, scales, sizes
from circuitgraph.models.families.rope import FIELDS as ROPE_FIELDS
from circuitgraph.models.parameters import qkv_by_group
from circuitgraph.models.spec import NormSpec, Spec


@family("persimmon")
class Persimmon(Family):
    """PersimmonForCausalLM."""

    handled = (
        (SIZES - {"head_dim", "num_key_value_heads"})
        | ROPE_FIELDS
        | {"hidden_act", "layer_norm_eps", "qk_layernorm"}
    )
    irrelevant = frozenset({"attention_dropout", "hidden_dropout"})
    names = {
        "embedding": "embed_tokens",
        "attention.norm": "layers.{i}.input_layernorm",
        **qkv_by_group("layers.{i}.self_attn.query_key_value"),
        "attention.q_norm": "layers.{i}.self_attn.q_layernorm",
        "attention.k_norm": "layers.{i}.self_attn.k_layernorm",
        "attention.o": "layers.{i}.self_attn.dense",
        "mlp.norm": "layers.{i}.post_attention_layernorm",
        "mlp.in": "layers.{i}.mlp.dense_h_to_4h",
        "mlp.out": "layers.{i}.mlp.dense_4h_to_h",
        "final_norm": "final_layernorm",
        "unembedding": "lm_head",
    }

    def spec(self, config: Config) -> Spec:
        size = sizes(config)
        norm = NormSpec("layer", config["layer_norm_eps"], bias=True)
        return Spec(
            **size,
            **same_rotary(config, size),
            norm=norm,
            final_norm=norm,
            qk_norm=norm if config["qk_layernorm"] else None,
            attn_scales=scales(size),
            qkv_bias=True,
            o_bias=True,
            mlp_bias=True,
            activation=activation_named(config["hidden_act"]),
            tied=config["tie_word_embeddings"],
        )
