"""GPT-J: parallel attention and MLP after one norm, neighbours rotate, logits have a bias."""

from __future__ import annotations

from typing import Any

from circuitgraph.errors import ModelError
from circuitgraph.models.families import Config, Family, activation_named, check_sizes, family
from circuitgraph.models.families.common import SUMMARY, same_rotary, scales, sizes
from circuitgraph.models.spec import NormSpec, Spec


def gpt_sizes(config: Config) -> dict[str, Any]:
    """The sizes that a `Spec` needs, from the names that GPT-2 gave them. Raises `ModelError`."""
    check_sizes(config, "n_embd", "n_head", "n_layer", "n_positions")
    size = sizes(
        {
            "hidden_size": config["n_embd"],
            "intermediate_size": config["n_inner"],
            "num_attention_heads": config["n_head"],
            "num_hidden_layers": config["n_layer"],
            "max_position_embeddings": config["n_positions"],
            "vocab_size": config["vocab_size"],
        }
    )
    return {**size, "d_mlp": size["d_mlp"] or 4 * size["d_model"]}


@family("gptj")
class GPTJ(Family):
    """GPTJForCausalLM."""

    handled = frozenset(
        {
            "activation_function",
            "layer_norm_epsilon",
            "n_embd",
            "n_head",
            "n_inner",
            "n_layer",
            "n_positions",
            "rotary_dim",
            "tie_word_embeddings",
            "vocab_size",
        }
    )
    irrelevant = SUMMARY | {
        "attn_pdrop",
        "embd_pdrop",
        "resid_pdrop",
        # in old checkpoints, and never read: the model always rotates and always scales
        "rotary",
        "scale_attn_weights",
    }
    prefixes = ("transformer.",)
    # the causal mask, the old value of masked scores, and a table of the rotation
    buffers = r"\.attn\.(masked_)?bias$|\.attn\.embed_positions$"
    names = {
        "embedding": "wte",
        "attention.norm": "h.{i}.ln_1",
        "attention.q": "h.{i}.attn.q_proj",
        "attention.k": "h.{i}.attn.k_proj",
        "attention.v": "h.{i}.attn.v_proj",
        "attention.o": "h.{i}.attn.out_proj",
        "mlp.norm": "h.{i}.ln_1",
        "mlp.in": "h.{i}.mlp.fc_in",
        "mlp.out": "h.{i}.mlp.fc_out",
        "final_norm": "ln_f",
        "unembedding": "lm_head",
    }

    def spec(self, config: Config) -> Spec:
        size, dims = gpt_sizes(config), config["rotary_dim"]
        if dims is None or not 2 <= dims <= size["d_head"] or dims % 2:
            raise ModelError(
                f"rotary_dim = {dims} must be even, and from 2 to the head size of "
                f"{size['d_head']}."
            )
        norm = NormSpec("layer", config["layer_norm_epsilon"], bias=True)
        # GPT-J's configuration can set nothing else of the rotary embedding.
        plain = {"rope_theta": 10000.0, "max_position_embeddings": size["n_ctx"]}
        return Spec(
            **size,
            **same_rotary(plain, {**size, "d_head": dims}),
            rope_pairs="neighbours",
            parallel=True,
            norm=norm,
            final_norm=norm,
            attn_scales=scales(size),
            mlp_bias=True,
            unembed_bias=True,
            activation=activation_named(config["activation_function"]),
            tied=config["tie_word_embeddings"],
        )
