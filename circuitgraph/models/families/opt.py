"""OPT: learned positions whose table begins with two rows that no token uses, ReLU."""

from __future__ import annotations

import numpy as np

from circuitgraph.errors import ModelError
from circuitgraph.models.families import Config, Family, activation_named, check_sizes, family
from circuitgraph.models.families.common import scales, sizes
from circuitgraph.models.parameters import Rows
from circuitgraph.models.spec import NormSpec, Spec

UNUSED = 2  # once the positions of padding


def _after_unused(spec: Spec) -> tuple[np.ndarray, int]:
    rows = spec.n_ctx + UNUSED
    return np.arange(UNUSED, rows), rows


@family("opt")
class OPT(Family):
    """OPTForCausalLM."""

    handled = frozenset(
        {
            "_remove_final_layer_norm",
            "activation_function",
            "enable_bias",
            "ffn_dim",
            "hidden_size",
            "layer_norm_elementwise_affine",
            "max_position_embeddings",
            "num_attention_heads",
            "num_hidden_layers",
            "tie_word_embeddings",
            "vocab_size",
            "word_embed_proj_dim",
        }
    )
    irrelevant = frozenset(
        {"activation_dropout", "attention_dropout", "dropout", "init_std", "layerdrop"}
    )
    # False norms the stream itself, after every sublayer (opt-350m): it is no sum of what the
    # sublayers write.
    required = {"do_layer_norm_before": True}
    prefixes = ("model.decoder.", "decoder.")
    names = {
        "embedding": "embed_tokens",
        "positional": Rows("embed_positions", _after_unused),
        "attention.norm": "layers.{i}.self_attn_layer_norm",
        "attention.q": "layers.{i}.self_attn.q_proj",
        "attention.k": "layers.{i}.self_attn.k_proj",
        "attention.v": "layers.{i}.self_attn.v_proj",
        "attention.o": "layers.{i}.self_attn.out_proj",
        "mlp.norm": "layers.{i}.final_layer_norm",
        "mlp.in": "layers.{i}.fc1",
        "mlp.out": "layers.{i}.fc2",
        "final_norm": "final_layer_norm",
        "unembedding": "lm_head",
    }

    def spec(self, config: Config) -> Spec:
        check_sizes(config, "ffn_dim")
        size = sizes({**config, "intermediate_size": config["ffn_dim"]})
        if config["word_embed_proj_dim"] not in (None, size["d_model"]):
            raise ModelError(
                f"word_embed_proj_dim = {config['word_embed_proj_dim']} differs from hidden_size = "
                f"{size['d_model']}: embeddings that are projected to another size are not "
                "implemented."
            )
        affine, bias = config["layer_norm_elementwise_affine"], config["enable_bias"]
        norm = NormSpec("layer", 1e-5, weight=affine, bias=affine)
        return Spec(
            **size,
            norm=norm,
            final_norm=None if config["_remove_final_layer_norm"] else norm,
            learned_positions=True,
            attn_scales=scales(size),
            qkv_bias=bias,
            o_bias=bias,
            mlp_bias=bias,
            activation=activation_named(config["activation_function"]),
            tied=config["tie_word_embeddings"],
        )
