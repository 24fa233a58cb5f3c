"""Mixtral: Mistral with a mixture of experts in every layer; active experts' weights sum to one."""

from __future__ import annotations

from typing import Any

from circuitgraph.errors import ModelError
from circuitgraph.models.families import Config, Family, activation_named, check_sizes, family
from circuitgraph.models.families.common import (
    NAMES,
    SIZES,
    same_window,
    scales,
    sizes,
    whole_rotary,
)
from circuitgraph.models.families.rope import FIELDS as ROPE_FIELDS
from circuitgraph.models.spec import Experts, NormSpec, Spec

EXPERTS = frozenset({"num_experts", "num_experts_per_tok", "num_local_experts"})
"""Config fields that `read_experts` reads."""

TRAINING = frozenset({"attention_dropout", "output_router_logits", "router_aux_loss_coef"})


def read_experts(config: Config, *, renormalise: bool) -> Experts:
    """The mixture of experts; transformers has called the number of experts by two names."""
    total = "num_local_experts" if config.get("num_local_experts") is not None else "num_experts"
    check_sizes(config, total, "num_experts_per_tok")
    n_experts, n_active = config[total], config["num_experts_per_tok"]
    if n_active > n_experts:
        raise ModelError(f"num_experts_per_tok = {n_active}, but {total} = {n_experts}.")
    return Experts(n_experts, n_active, renormalise)


def fill_experts(config: dict[str, Any]) -> dict[str, Any]:
    """The configuration with the number of experts under the name that counts."""
    if "num_experts" in config:
        config["num_local_experts"] = config.pop("num_experts")
    return config


@family("mixtral")
class Mixtral(Family):
    """MixtralForCausalLM. Files hold one tensor per expert, under the names of Mistral's code."""

    handled = SIZES | ROPE_FIELDS | EXPERTS | {"hidden_act", "rms_norm_eps", "sliding_window"}
    irrelevant = TRAINING | {"router_jitter_noise"}  # noise in training only
    names = {
        **NAMES,
        "mlp.router": "layers.{i}.block_sparse_moe.gate",
        "mlp.gate": "layers.{i}.block_sparse_moe.experts.{e}.w1",
        "mlp.in": "layers.{i}.block_sparse_moe.experts.{e}.w3",
        "mlp.out": "layers.{i}.block_sparse_moe.experts.{e}.w2",
    }

    def fill(self, config: dict[str, Any]) -> dict[str, Any]:
        return fill_experts(config)

    def spec(self, config: Config) -> Spec:
        size = sizes(config)
        norm = NormSpec("rms", config["rms_norm_eps"], cast_first=True)
        return Spec(
            **size,
            **whole_rotary(config, size),
            norm=norm,
            final_norm=norm,
            attn_scales=scales(size),
            windows=same_window(config, size),
            activation=activation_named(config["hidden_act"]),
            gated=True,
            experts=read_experts(config, renormalise=True),
            tied=config["tie_word_embeddings"],
        )
