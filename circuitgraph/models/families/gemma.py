"""Gemma 1: like Llama, but norms multiply by 1 + weight, and the embedding is scaled.

The embedding's factor is the square root of its width.
"""

from __future__ import annotations

from typing import Any

from circuitgraph.errors import ModelError
from circuitgraph.models.families import Config, Family, activation_named, family
from circuitgraph.models.families.common import NAMES, SIZES, scales, sizes, whole_rotary
from circuitgraph.models.families.rope import FIELDS as ROPE_FIELDS
from circuitgraph.models.spec import NormSpec, Spec


def norm_of(config: Config) -> NormSpec:
    """The norm of all Gemmas."""
    return NormSpec("rms", config["rms_norm_eps"], offset=1.0)


def check_causal(config: Config) -> None:
    """Raise `ModelError` where queries see later positions.

    transformers' attention kernels do not agree with each other there.
    """
    if config.get("use_bidirectional_attention"):
        raise ModelError(
            "use_bidirectional_attention = True: only causal attention is implemented."
        )


@family("gemma")
class Gemma(Family):
    """GemmaForCausalLM."""

    handled = (
        SIZES
        | ROPE_FIELDS
        | {
            "attention_bias",
            "hidden_act",
            "hidden_activation",
            "rms_norm_eps",
            "use_bidirectional_attention",
        }
    )
    irrelevant = frozenset({"attention_dropout"})
    names = NAMES

    def fill(self, config: dict[str, Any]) -> dict[str, Any]:
        if config["hidden_act"] == "gelu":  # meant the tanh form, in the first files
            config["hidden_act"] = "gelu_pytorch_tanh"
        return config

    def spec(self, config: Config) -> Spec:
        check_causal(config)
        # transformers 4 preferred hidden_activation, 5 does not read it
        if config.get("hidden_activation") not in (None, config["hidden_act"]):
            raise ModelError(
                f"hidden_act = {config['hidden_act']!r} (a Gemma that says 'gelu' means this), but "
                f"hidden_activation = {config['hidden_activation']!r}. Delete the wrong one."
            )
        size = sizes(config)
        norm = norm_of(config)
        return Spec(
            **size,
            **whole_rotary(config, size),
            norm=norm,
            final_norm=norm,
            attn_scales=scales(size),
            qkv_bias=config["attention_bias"],
            o_bias=config["attention_bias"],
            activation=activation_named(config["hidden_act"]),
            gated=True,
            embed_scale=size["d_model"] ** 0.5,
            tied=config["tie_word_embeddings"],
        )
