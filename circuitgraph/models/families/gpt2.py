"""GPT-2: learned positions, LayerNorm, plain MLP, biases everywhere, usually a tied head."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import jax.numpy as jnp
import numpy as np

from circuitgraph.errors import ModelError
from circuitgraph.models.families import Config, Family, Weights, activation_named, check_sizes, family
from circuitgraph.models.spec import Spec
from circuitgraph.models.transformer import MLP, Attention, Block, LayerNorm, Transformer

Stack = Callable[[str], np.ndarray]  # a tensor of every layer, by its name inside a layer


@family("gpt2")
class GPT2(Family):
    """GPT2LMHeadModel. Its Conv1D weights are stored [in, out]; c_attn holds q, k and v side by side."""

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
    irrelevant = frozenset(
        {
            "attn_pdrop",
            "embd_pdrop",
            "resid_pdrop",
            "reorder_and_upcast_attn",  # asks for a float32 softmax, which ours is
            "summary_activation",
            "summary_first_dropout",
            "summary_proj_to_labels",
            "summary_type",
            "summary_use_proj",
            # found in old checkpoints only
            "is_decoder",  # the model attends causally, whatever it says
            "n_ctx",
            "n_special",
            "num_labels",
            "output_past",
            "predict_special_tokens",
        }
    )
    required = {  # noqa: RUF012
        "add_cross_attention": False,
        "cross_attention_hidden_size": None,
        "is_encoder_decoder": False,
        "pruned_heads": {},
        "tie_encoder_decoder": False,
    }
    buffers = r"\.attn\.masked_bias$"  # what masked scores once were; transformers itself passes over attn.bias

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
        return Spec(
            n_layers=n_layers,
            n_heads=n_heads,
            d_model=d_model,
            d_head=d_head,
            d_mlp=4 * d_model if config["n_inner"] is None else config["n_inner"],
            d_vocab=config["vocab_size"],
            n_ctx=config["n_positions"],
            activation=activation_named(config["activation_function"]),
            attn_scales=tuple(scale / (layer + 1 if by_layer else 1) for layer in range(n_layers)),
            norm_eps=config["layer_norm_epsilon"],
        )

    def prunable(self, spec: Spec, weights: Weights) -> Spec:
        """Without MLPs, where every MLP's output projection is exactly zero: it could never write anything."""
        names = [f"transformer.h.{i}.mlp.c_proj.{part}" for i in range(spec.n_layers) for part in ("weight", "bias")]
        inert = not any(np.any(weights[name]) for name in names)
        return replace(spec, d_mlp=None) if inert else spec

    def transformer(self, spec: Spec, weights: Weights) -> Transformer:
        def stack(name: str) -> np.ndarray:
            return np.stack([weights[f"transformer.h.{i}.{name}"] for i in range(spec.n_layers)])

        def norm(name: str) -> LayerNorm:
            return LayerNorm(jnp.asarray(stack(f"{name}.weight")), jnp.asarray(stack(f"{name}.bias")), spec.norm_eps)

        final_weight, final_bias = (jnp.asarray(weights[f"transformer.ln_f.{part}"]) for part in ("weight", "bias"))
        embedding, head = weights["transformer.wte.weight"], weights["lm_head.weight"]
        tied = head is embedding or np.shares_memory(head, embedding) or np.array_equal(head, embedding)
        return Transformer(
            embedding=jnp.asarray(embedding),
            positional=jnp.asarray(weights["transformer.wpe.weight"]),
            blocks=Block(self._attention(spec, stack, norm("ln_1")), self._mlp(spec, stack, norm)),
            final_norm=LayerNorm(final_weight, final_bias, spec.norm_eps),
            unembedding=None if tied else jnp.asarray(head.T),
            spec=spec,
        )

    @staticmethod
    def _attention(spec: Spec, stack: Stack, norm: LayerNorm) -> Attention:
        layers, heads, d, e = spec.n_layers, spec.n_heads, spec.d_model, spec.d_head
        # [layers, d, 3 * heads * d_head] -> q, k, v of [layers, heads, d, d_head]
        w = stack("attn.c_attn.weight").reshape(layers, d, 3, heads, e).transpose(2, 0, 3, 1, 4)
        b = stack("attn.c_attn.bias").reshape(layers, 3, heads, e).transpose(1, 0, 2, 3)
        return Attention(
            norm=norm,
            w_q=jnp.asarray(w[0]),
            w_k=jnp.asarray(w[1]),
            w_v=jnp.asarray(w[2]),
            b_q=jnp.asarray(b[0]),
            b_k=jnp.asarray(b[1]),
            b_v=jnp.asarray(b[2]),
            w_o=jnp.asarray(stack("attn.c_proj.weight").reshape(layers, heads, e, d)),
            b_o=jnp.asarray(stack("attn.c_proj.bias")),
            scale=jnp.asarray(spec.attn_scales, jnp.float32),
        )

    @staticmethod
    def _mlp(spec: Spec, stack: Stack, norm: Callable[[str], LayerNorm]) -> MLP | None:
        if spec.d_mlp is None:
            return None
        return MLP(
            norm=norm("ln_2"),
            w_in=jnp.asarray(stack("mlp.c_fc.weight")),
            b_in=jnp.asarray(stack("mlp.c_fc.bias")),
            w_out=jnp.asarray(stack("mlp.c_proj.weight")),
            b_out=jnp.asarray(stack("mlp.c_proj.bias")),
            activation=spec.activation,
        )
