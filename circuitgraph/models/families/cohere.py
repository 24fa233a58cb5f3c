"""Command R: parallel attention and MLP after one norm, neighbours rotate, scaled logits."""

from __future__ import annotations

from circuitgraph.models.families import Config, Family, activation_named, family
from circuitgraph.models.families.common import NAMES, SIZES, scales, sizes, whole_rotary
from circuitgraph.models.families.rope import FIELDS as ROPE_FIELDS
from circuitgraph.models.spec import NormSpec, Spec


@family("cohere")
class Cohere(Family):
    """CohereForCausalLM."""

    handled = (
        SIZES
        | ROPE_FIELDS
        | {"attention_bias", "hidden_act", "layer_norm_eps", "logit_scale", "use_qk_norm"}
    )
    irrelevant = frozenset({"attention_dropout", "model_max_length", "pretraining_tp"})
    names = {
        **NAMES,
        "mlp.norm": "layers.{i}.input_layernorm",  # the attention's, too
        "attention.q_norm": "layers.{i}.self_attn.q_norm",
        "attention.k_norm": "layers.{i}.self_attn.k_norm",
    }

    def spec(self, config: Config) -> Spec:
        size = sizes(config)
        norm = NormSpec("layer", config["layer_norm_eps"])
        return Spec(
            **size,
            **whole_rotary(config, size),
            parallel=True,
            norm=norm,
            final_norm=norm,
            qk_norm=norm if config["use_qk_norm"] else None,
            qk_norm_over="each_head",
            rope_pairs="neighbours",
            attn_scales=scales(size),
            qkv_bias=config["attention_bias"],
            o_bias=config["attention_bias"],
            activation=activation_named(config["hidden_act"]),
            gated=True,
            logit_scale=config["logit_scale"],
            tied=config["tie_word_embeddings"],
        )
