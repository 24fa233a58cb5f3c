"""GLM 4.5 to 4.7: experts chosen by sigmoids and a bias, beside an MLP that all tokens share."""

from __future__ import annotations

from circuitgraph.errors import ModelError
from circuitgraph.models.families import Config, Family, activation_named, check_sizes, family
from circuitgraph.models.families.common import NAMES, SIZES, same_rotary, scales, sizes
from circuitgraph.models.families.mixtral import TRAINING
from circuitgraph.models.families.qwen3 import QK_NORM_NAMES
from circuitgraph.models.families.qwen3_moe import EXPERT_NAMES
from circuitgraph.models.families.rope import FIELDS as ROPE_FIELDS
from circuitgraph.models.spec import Experts, NormSpec, Spec


@family("glm4_moe")
class Glm4Moe(Family):
    """Glm4MoeForCausalLM, with experts in every layer."""

    handled = (
        (SIZES - {"intermediate_size"})
        | ROPE_FIELDS
        | {
            "attention_bias",
            "hidden_act",
            "moe_intermediate_size",
            "n_routed_experts",
            "n_shared_experts",
            "norm_topk_prob",
            "num_experts_per_tok",
            "rms_norm_eps",
            "routed_scaling_factor",
            "use_qk_norm",
        }
    )
    irrelevant = TRAINING | {
        "intermediate_size",  # of layers without experts
        "num_nextn_predict_layers",  # which no forward pass of one token's logits reads
    }
    required = {
        # Layers without experts before those with them: all layers of a `Spec` have the same parts.
        "first_k_dense_replace": 0,
        # Experts chosen by groups, which no public checkpoint of this family does.
        "n_group": 1,
        "topk_group": 1,
    }
    names = {
        **NAMES,
        **QK_NORM_NAMES,
        **EXPERT_NAMES,
        "mlp.choice.weight": "layers.{i}.mlp.gate.e_score_correction_bias",
        "mlp.shared.gate": "layers.{i}.mlp.shared_experts.gate_proj",
        "mlp.shared.in": "layers.{i}.mlp.shared_experts.up_proj",
        "mlp.shared.out": "layers.{i}.mlp.shared_experts.down_proj",
    }

    def spec(self, config: Config) -> Spec:
        size = sizes({**config, "intermediate_size": config["moe_intermediate_size"]})
        norm = NormSpec("rms", config["rms_norm_eps"], cast_first=True)
        return Spec(
            **size,
            **same_rotary(config, size),
            norm=norm,
            final_norm=norm,
            qk_norm=norm if config["use_qk_norm"] else None,
            attn_scales=scales(size),
            qkv_bias=config["attention_bias"],
            activation=activation_named(config["hidden_act"]),
            gated=True,
            experts=_read_experts(config),
            tied=config["tie_word_embeddings"],
        )


def _read_experts(config: Config) -> Experts:
    check_sizes(
        config,
        "moe_intermediate_size",
        "n_routed_experts",
        "n_shared_experts",
        "num_experts_per_tok",
    )
    n_experts, n_active = config["n_routed_experts"], config["num_experts_per_tok"]
    if n_active > n_experts:
        raise ModelError(f"num_experts_per_tok = {n_active}, but n_routed_experts = {n_experts}.")
    return Experts(
        n_experts,
        n_active,
        renormalise=config["norm_topk_prob"],
        scores="sigmoid",
        choice_bias=True,
        scale=config["routed_scaling_factor"],
        d_shared=config["n_shared_experts"] * config["moe_intermediate_size"],
    )
