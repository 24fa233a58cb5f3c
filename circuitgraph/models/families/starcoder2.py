"""StarCoder 2: LayerNorm, rotary positions, plain MLP, biases, one window, a tied unembedding."""

from __future__ import annotations

from circuitgraph.models.families import Config, Family, activation_named, family
from circuitgraph.models.families.common import (
    NAMES,
    SIZES,
    same_window,
    scales,
    sizes,
    whole_rotary,
)
from circuitgraph.models.families.rope import FIELDS as ROPE_FIELDS
from circuitgraph.models.spec import NormSpec, Spec


@family("starcoder2")
class Starcoder2(Family):
    """Starcoder2ForCausalLM."""

    handled = SIZES | ROPE_FIELDS | {"hidden_act", "norm_epsilon", "sliding_window", "use_bias"}
    irrelevant = frozenset(
        {
            "attention_dropout",
            "embedding_dropout",
            "residual_dropout",
            # in the checkpoints of its makers, not read by transformers' model
            "activation_function",  # hidden_act counts
            "layer_norm_epsilon",  # norm_epsilon counts
            # they ask for a float32 softmax, which ours is
            "attention_softmax_in_fp32",
            "scale_attention_softmax_in_fp32",
        }
    )
    required = {"mlp_type": "default", "norm_type": "layer_norm", "scale_attn_weights": True}
    names = {
        **{key: name for key, name in NAMES.items() if key != "mlp.gate"},
        "mlp.in": "layers.{i}.mlp.c_fc",
        "mlp.out": "layers.{i}.mlp.c_proj",
    }

    def spec(self, config: Config) -> Spec:
        size, bias = sizes(config), config["use_bias"]
        norm = NormSpec("layer", config["norm_epsilon"], bias=True)
        return Spec(
            **size,
            **whole_rotary(config, size),
            norm=norm,
            final_norm=norm,
            attn_scales=scales(size),
            windows=same_window(config, size),
            qkv_bias=bias,
            o_bias=bias,
            mlp_bias=bias,
            activation=activation_named(config["hidden_act"]),
            tied=config["tie_word_embeddings"],
        )
