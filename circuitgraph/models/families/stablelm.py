"""StableLM: LayerNorm, partial rotation, gated MLP; some norm each head's queries and keys."""

from __future__ import annotations

from copy import copy
from typing import Any

from circuitgraph.models.families import Config, Family, activation_named, family
from circuitgraph.models.families.common import NAMES, SIZES, same_rotary, scales, sizes
from circuitgraph.models.families.rope import FIELDS as ROPE_FIELDS
from circuitgraph.models.spec import NormSpec, Spec


@family("stablelm")
class StableLM(Family):
    """StableLmForCausalLM. The norms of queries and keys are a module, and a tensor, per head."""

    # transformers ignores a head_dim, which is therefore unknown here
    handled = (
        (SIZES - {"head_dim"})
        | ROPE_FIELDS
        | {"hidden_act", "layer_norm_eps", "qk_layernorm", "use_parallel_residual", "use_qkv_bias"}
    )
    irrelevant = frozenset({"attention_dropout", "hidden_dropout"})
    names = {
        **NAMES,
        "attention.q_norm": "layers.{i}.self_attn.q_layernorm.norms.{h}",
        "attention.k_norm": "layers.{i}.self_attn.k_layernorm.norms.{h}",
    }

    def configured(self, config: Config) -> StableLM:
        """Parallel layers have one norm, which both sublayers read."""
        adapted = copy(self)
        if config["use_parallel_residual"]:
            adapted.names = {**self.names, "mlp.norm": self.names["attention.norm"]}
        return adapted

    def fill(self, config: dict[str, Any]) -> dict[str, Any]:
        return {"partial_rotary_factor": 0.25, **config}

    def spec(self, config: Config) -> Spec:
        size = sizes(config)
        eps = config["layer_norm_eps"]
        norm = NormSpec("layer", eps, bias=True)
        return Spec(
            **size,
            **same_rotary(config, size),
            parallel=config["use_parallel_residual"],
            norm=norm,
            final_norm=norm,
            qk_norm=NormSpec("layer", eps) if config["qk_layernorm"] else None,
            qk_norm_over="each_head",
            attn_scales=scales(size),
            qkv_bias=config["use_qkv_bias"],
            activation=activation_named(config["hidden_act"]),
            gated=True,
            tied=config["tie_word_embeddings"],
        )
