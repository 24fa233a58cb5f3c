"""GPT-Neo (and TinyStories): scores are not scaled, and some layers see a window only."""

from __future__ import annotations

from typing import Any

from circuitgraph.errors import ModelError
from circuitgraph.models.families import Config, Family, activation_named, check_sizes, family
from circuitgraph.models.families.common import SUMMARY, scales, sizes
from circuitgraph.models.spec import NormSpec, Spec


@family("gpt_neo")
class GPTNeo(Family):
    """GPTNeoForCausalLM."""

    handled = frozenset(
        {
            "activation_function",
            "attention_layers",
            "attention_types",  # transformers makes attention_layers of it where that is missing
            "hidden_size",
            "intermediate_size",
            "layer_norm_epsilon",
            "max_position_embeddings",
            "num_heads",
            "num_layers",
            "tie_word_embeddings",
            "vocab_size",
            "window_size",
        }
    )
    irrelevant = SUMMARY | {
        "attention_dropout",
        "classifier_dropout",
        "embed_dropout",
        "resid_dropout",
    }
    prefixes = ("transformer.",)
    # the causal mask, the old value of masked scores
    buffers = r"\.attn\.attention\.(masked_)?bias$"
    names = {
        "embedding": "wte",
        "positional": "wpe",
        "attention.norm": "h.{i}.ln_1",
        "attention.q": "h.{i}.attn.attention.q_proj",
        "attention.k": "h.{i}.attn.attention.k_proj",
        "attention.v": "h.{i}.attn.attention.v_proj",
        "attention.o": "h.{i}.attn.attention.out_proj",
        "mlp.norm": "h.{i}.ln_2",
        "mlp.in": "h.{i}.mlp.c_fc",
        "mlp.out": "h.{i}.mlp.c_proj",
        "final_norm": "ln_f",
        "unembedding": "lm_head",
    }

    def fill(self, config: dict[str, Any]) -> dict[str, Any]:
        types = config["attention_types"] or [[["global", "local"], 12]]
        layers = [kind for kinds, n in types for kind in kinds * n]
        return {"attention_layers": layers, **config}

    def spec(self, config: Config) -> Spec:
        size = sizes(
            {
                **config,
                "num_attention_heads": config["num_heads"],
                "num_hidden_layers": config["num_layers"],
            }
        )
        size["d_mlp"] = size["d_mlp"] or 4 * size["d_model"]
        check_sizes(config, "window_size")
        layers = config["attention_layers"]
        if len(layers) != size["n_layers"] or not set(layers) <= {"global", "local"}:
            raise ModelError(
                f"attention_layers = {layers!r} must say 'global' or 'local' for each of the "
                "layers."
            )
        norm = NormSpec("layer", config["layer_norm_epsilon"], bias=True)
        return Spec(
            **size,
            norm=norm,
            final_norm=norm,
            learned_positions=True,
            attn_scales=scales(size, 1.0),
            windows=tuple(config["window_size"] if kind == "local" else None for kind in layers),
            o_bias=True,
            mlp_bias=True,
            activation=activation_named(config["activation_function"]),
            tied=config["tie_word_embeddings"],
        )
