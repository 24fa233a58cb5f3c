"""Falcon 1 and 2: three arrangements of norms and of key-value heads, rotary positions or ALiBi."""

from __future__ import annotations

from copy import copy
from typing import Any

from circuitgraph.errors import ModelError
from circuitgraph.models.families import Config, Family, activation_named, check_sizes, family
from circuitgraph.models.families.bloom import alibi_slopes
from circuitgraph.models.families.common import same_rotary, scales, sizes
from circuitgraph.models.parameters import qkv_by_group
from circuitgraph.models.spec import Alibi, NormSpec, Spec


@family("falcon")
class Falcon(Family):
    """FalconForCausalLM."""

    handled = frozenset(
        {
            "activation",
            "alibi",
            "bias",
            "ffn_hidden_size",
            "hidden_size",
            "layer_norm_epsilon",
            "max_position_embeddings",
            "multi_query",
            "new_decoder_architecture",
            "num_attention_heads",
            "num_hidden_layers",
            "num_kv_heads",
            "num_ln_in_parallel_attn",
            "parallel_attn",
            "rope_parameters",
            "rope_scaling",
            "rope_theta",
            "tie_word_embeddings",
            "vocab_size",
        }
    )
    irrelevant = frozenset(
        {
            "attention_dropout",
            "hidden_dropout",
            # in the files of checkpoints, and never read
            "apply_residual_connection_post_layernorm",
            "ff_factor",
        }
    )
    prefixes = ("transformer.",)
    names = {
        "embedding": "word_embeddings",
        "attention.norm": "h.{i}.input_layernorm",
        **qkv_by_group("h.{i}.self_attention.query_key_value"),
        "attention.o": "h.{i}.self_attention.dense",
        "mlp.norm": "h.{i}.post_attention_layernorm",
        "mlp.in": "h.{i}.mlp.dense_h_to_4h",
        "mlp.out": "h.{i}.mlp.dense_4h_to_h",
        "final_norm": "ln_f",
        "unembedding": "lm_head",
    }

    def configured(self, config: Config) -> Falcon:
        """With the names of this configuration's norms.

        transformers' eager code counts ALiBi twice, in the mask and in the scores; its default code
        counts it once.
        """
        adapted = copy(self)
        adapted.reference_attention = "sdpa" if config["alibi"] else "eager"
        adapted.names = {**self.names, **_norm_names(config)}
        return adapted

    def fill(self, config: dict[str, Any]) -> dict[str, Any]:
        if config["num_kv_heads"] is None:
            config["num_kv_heads"] = config["num_attention_heads"]
        if config["ffn_hidden_size"] is None:
            config["ffn_hidden_size"] = 4 * config["hidden_size"]
        return config

    def spec(self, config: Config) -> Spec:
        check_sizes(config, "ffn_hidden_size", "num_kv_heads")
        size = sizes(
            {
                **config,
                "intermediate_size": config["ffn_hidden_size"],
                "num_key_value_heads": _kv_heads(config),
            }
        )
        norm = NormSpec("layer", config["layer_norm_epsilon"], bias=True)
        return Spec(
            **size,
            **_position_fields(config, size),
            parallel=_parallel_norms(config) > 0,
            norm=norm,
            final_norm=norm,
            attn_scales=scales(size),
            qkv_bias=bool(config["bias"]),
            o_bias=bool(config["bias"]),
            mlp_bias=bool(config["bias"]),
            activation=activation_named(config["activation"]),
            tied=config["tie_word_embeddings"],
        )


def _kv_heads(config: Config) -> int:
    """num_kv_heads counts in the new architecture only."""
    if config["new_decoder_architecture"]:
        return config["num_kv_heads"]
    if config["multi_query"]:
        return 1
    if config["num_kv_heads"] != config["num_attention_heads"]:
        raise ModelError(
            f"num_kv_heads = {config['num_kv_heads']}, but without multi_query and "
            "new_decoder_architecture there are as many as num_attention_heads = "
            f"{config['num_attention_heads']}."
        )
    return config["num_kv_heads"]


def _parallel_norms(config: Config) -> int:
    """How many norms a layer has whose attention and MLP are parallel, 0 if they are not."""
    new, norms = config["new_decoder_architecture"], config["num_ln_in_parallel_attn"]
    if not config["parallel_attn"]:
        if new:
            raise ModelError(
                "new_decoder_architecture = True with parallel_attn = False does not exist."
            )
        return 0
    if not new:
        if norms == 2:
            raise ModelError("num_ln_in_parallel_attn = 2 needs new_decoder_architecture = True.")
        return 1
    if norms not in (None, 1, 2):
        raise ModelError(f"num_ln_in_parallel_attn = {norms} must be 1 or 2.")
    return norms or 2


def _norm_names(config: Config) -> dict[str, str]:
    """Where the norms of the two sublayers are, if not where the sequential model has them."""
    return {
        0: {},
        1: {"mlp.norm": "h.{i}.input_layernorm"},
        2: {"attention.norm": "h.{i}.ln_attn", "mlp.norm": "h.{i}.ln_mlp"},
    }[_parallel_norms(config)]


def _position_fields(config: Config, size: dict[str, Any]) -> dict[str, Any]:
    """ALiBi or rotary."""
    if config["alibi"]:
        return {
            "alibi": Alibi(
                alibi_slopes(size["n_heads"]), scale=size["d_head"] ** -0.5, rounded=True
            )
        }
    if (config["rope_parameters"] or {}).get("partial_rotary_factor", 1.0) != 1.0:
        raise ModelError(
            "partial_rotary_factor: Falcon rotates all dimensions of a head; another value is not "
            "defined."
        )
    return same_rotary(config, size)
