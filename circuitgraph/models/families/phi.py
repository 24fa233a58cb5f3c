"""Phi 1, 1.5 and 2: parallel attention and MLP after one norm, partial rotation, biases."""

from __future__ import annotations

from typing import Any

from circuitgraph.models.families import Config, Family, activation_named, family
from circuitgraph.models.families.common import SIZES, same_rotary, scales, sizes
from circuitgraph.models.families.rope import FIELDS as ROPE_FIELDS
from circuitgraph.models.spec import NormSpec, Spec


@family("phi")
class Phi(Family):
    """PhiForCausalLM."""

    handled = SIZES | ROPE_FIELDS | {"hidden_act", "layer_norm_eps", "qk_layernorm"}
    irrelevant = frozenset({"attention_dropout", "embd_pdrop", "resid_pdrop"})
    names = {
        "embedding": "embed_tokens",
        "attention.norm": "layers.{i}.input_layernorm",
        "attention.q": "layers.{i}.self_attn.q_proj",
        "attention.k": "layers.{i}.self_attn.k_proj",
        "attention.v": "layers.{i}.self_attn.v_proj",
        "attention.q_norm": "layers.{i}.self_attn.q_layernorm",
        "attention.k_norm": "layers.{i}.self_attn.k_layernorm",
        "attention.o": "layers.{i}.self_attn.dense",
        "mlp.norm": "layers.{i}.input_layernorm",
        "mlp.in": "layers.{i}.mlp.fc1",
        "mlp.out": "layers.{i}.mlp.fc2",
        "final_norm": "final_layernorm",
        "unembedding": "lm_head",
    }

    def fill(self, config: dict[str, Any]) -> dict[str, Any]:
        return {"partial_rotary_factor": 0.5, **config}

    def spec(self, config: Config) -> Spec:
        size = sizes(config)
        norm = NormSpec("layer", config["layer_norm_eps"], bias=True)
        return Spec(
            **size,
            **same_rotary(config, size),
            parallel=True,
            norm=norm,
            final_norm=norm,
            qk_norm=norm if config["qk_layernorm"] else None,
            attn_scales=scales(size),
            qkv_bias=True,
            o_bias=True,
            mlp_bias=True,
            unembed_bias=True,
            activation=activation_named(config["hidden_act"]),
            tied=config["tie_word_embeddings"],
        )
