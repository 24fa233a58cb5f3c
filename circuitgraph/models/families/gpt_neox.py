"""GPT-NeoX and Pythia: parallel attention and MLP with a norm each; some dimensions rotate."""

from __future__ import annotations

from typing import Any

from circuitgraph.models.families import Config, Family, activation_named, family
from circuitgraph.models.families.common import same_rotary, scales, sizes
from circuitgraph.models.families.rope import FIELDS as ROPE_FIELDS
from circuitgraph.models.parameters import qkv_by_group
from circuitgraph.models.spec import NormSpec, Spec


@family("gpt_neox")
class GPTNeoX(Family):
    """GPTNeoXForCausalLM.

    Its rotary_pct and rotary_emb_base are in rope_parameters once transformers has read them.
    """

    handled = ROPE_FIELDS | {
        "attention_bias",
        "hidden_act",
        "hidden_size",
        "intermediate_size",
        "layer_norm_eps",
        "num_attention_heads",
        "num_hidden_layers",
        "tie_word_embeddings",
        "use_parallel_residual",
        "vocab_size",
    }
    irrelevant = frozenset(
        {
            "attention_dropout",
            "attention_probs_dropout_prob",
            "classifier_dropout",
            "hidden_dropout",
            "hidden_dropout_prob",
            "is_decoder",  # the model attends causally, whatever it says
        }
    )
    prefixes = ("gpt_neox.",)
    # the causal mask, the old value of masked scores, and the rotary frequencies
    buffers = r"\.attention\.(masked_)?bias$|rotary_emb\.inv_freq$"
    names = {
        "embedding": "embed_in",
        "attention.norm": "layers.{i}.input_layernorm",
        **qkv_by_group("layers.{i}.attention.query_key_value"),
        "attention.o": "layers.{i}.attention.dense",
        "mlp.norm": "layers.{i}.post_attention_layernorm",
        "mlp.in": "layers.{i}.mlp.dense_h_to_4h",
        "mlp.out": "layers.{i}.mlp.dense_4h_to_h",
        "final_norm": "final_layer_norm",
        "unembedding": "embed_out",
    }

    def fill(self, config: dict[str, Any]) -> dict[str, Any]:
        rope = config.pop("rope_scaling", None) or config["rope_parameters"] or {}
        base, part = config.pop("rotary_emb_base", 10000.0), config.pop("rotary_pct", 0.25)
        config["rope_parameters"] = {"rope_theta": base, "partial_rotary_factor": part, **rope}
        return config

    def spec(self, config: Config) -> Spec:
        size = sizes(config)
        norm = NormSpec("layer", config["layer_norm_eps"], bias=True)
        return Spec(
            **size,
            **same_rotary(config, size),
            parallel=config["use_parallel_residual"],
            norm=norm,
            final_norm=norm,
            attn_scales=scales(size),
            qkv_bias=config["attention_bias"],
            o_bias=config["attention_bias"],
            mlp_bias=True,
            activation=activation_named(config["hidden_act"]),
            tied=config["tie_word_embeddings"],
        )
