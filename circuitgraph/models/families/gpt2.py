"""GPT-2: learned positions, LayerNorm, plain MLP, biases everywhere, usually a tied head."""

from __future__ import annotations

from circuitgraph.errors import ModelError
from circuitgraph.models.families import Config, Family, activation_named, check_sizes, family
from circuitgraph.models.families.common import SUMMARY
from circuitgraph.models.parameters import qkv_blocks
from circuitgraph.models.spec import NormSpec, Spec


@family("gpt2")
class GPT2(Family):
    """GPT2LMHeadModel. Weights are stored [in, out]; c_attn holds q, k and v side by side."""

    handled = frozenset(
        {
            "activation_function",
            "layer_norm_epsilon",
            "n_embd",
            "n_head",
            "n_inner",
            "n_layer",
            "n_positions",
            "scale_attn_by_inverse_layer_idx",
            "scale_attn_weights",
            "tie_word_embeddings",
            "vocab_size",
        }
    )
    irrelevant = SUMMARY | frozenset(
        {
            "attn_pdrop",
            "embd_pdrop",
            "resid_pdrop",
            "reorder_and_upcast_attn",  # asks for a float32 softmax, which ours is
            # in old checkpoints only
            "is_decoder",  # the model attends causally, whatever it says
            "n_ctx",
            "n_special",
            "num_labels",
            "output_past",
            "predict_special_tokens",
        }
    )
    prefixes = ("transformer.",)
    layout = "conv1d"
    buffers = r"\.attn\.(masked_)?bias$"  # the causal mask, the old value of masked scores
    names = {
        "embedding": "wte",
        "positional": "wpe",
        "attention.norm": "h.{i}.ln_1",
        **qkv_blocks("h.{i}.attn.c_attn"),
        "attention.o": "h.{i}.attn.c_proj",
        "mlp.norm": "h.{i}.ln_2",
        "mlp.in": "h.{i}.mlp.c_fc",
        "mlp.out": "h.{i}.mlp.c_proj",
        "final_norm": "ln_f",
        "unembedding": "lm_head",
    }

    def spec(self, config: Config) -> Spec:
        check_sizes(config, "n_layer", "n_head", "n_embd", "n_positions", "vocab_size")
        if config["n_inner"] is not None:
            check_sizes(config, "n_inner")
        n_layers, n_heads, d_model = config["n_layer"], config["n_head"], config["n_embd"]
        if d_model % n_heads:
            raise ModelError(f"n_embd = {d_model} is not a multiple of n_head = {n_heads}.")
        d_head = d_model // n_heads
        scale = d_head**-0.5 if config["scale_attn_weights"] else 1.0
        by_layer = config["scale_attn_by_inverse_layer_idx"]
        norm = NormSpec("layer", config["layer_norm_epsilon"], bias=True)
        return Spec(
            n_layers=n_layers,
            n_heads=n_heads,
            n_kv_heads=n_heads,
            d_model=d_model,
            d_head=d_head,
            d_mlp=4 * d_model if config["n_inner"] is None else config["n_inner"],
            d_vocab=config["vocab_size"],
            d_vocab_out=config["vocab_size"],
            n_ctx=config["n_positions"],
            norm=norm,
            final_norm=norm,
            learned_positions=True,
            attn_scales=tuple(scale / (layer + 1 if by_layer else 1) for layer in range(n_layers)),
            qkv_bias=True,
            o_bias=True,
            mlp_bias=True,
            activation=activation_named(config["activation_function"]),
            tied=config["tie_word_embeddings"],
        )
