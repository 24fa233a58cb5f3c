"""BLOOM: positions only as a bias of the scores (ALiBi), and a norm of the embedding."""

from __future__ import annotations

from circuitgraph.models.families import Config, Family, family
from circuitgraph.models.families.common import scales, sizes
from circuitgraph.models.parameters import qkv_by_group
from circuitgraph.models.positions import FOREVER
from circuitgraph.models.spec import Alibi, NormSpec, Spec


def alibi_slopes(n_heads: int) -> tuple[float, ...]:
    """The slope of each head: powers of one base, then every other power of its root.

    The base serves as many heads as the largest power of two has, the root serves the rest. In
    torch's float32, so that the numbers are the same to the last bit.
    """
    import torch

    def powers_of_base(n: int, exponents: range) -> list[float]:
        base = torch.tensor(2.0 ** -(8.0 / n), dtype=torch.float32)
        return torch.pow(base, torch.tensor(exponents, dtype=torch.int32)).tolist()

    n_whole = 2 ** (n_heads.bit_length() - 1)
    return (
        *powers_of_base(n_whole, range(1, n_whole + 1)),
        *powers_of_base(2 * n_whole, range(1, 2 * (n_heads - n_whole), 2)),
    )


@family("bloom")
class Bloom(Family):
    """BloomForCausalLM."""

    handled = frozenset(
        {
            "hidden_size",
            "layer_norm_epsilon",
            "n_head",
            "n_layer",
            "tie_word_embeddings",
            "vocab_size",
        }
    )
    irrelevant = frozenset(
        {
            "attention_dropout",
            "hidden_dropout",
            "pretraining_tp",  # nothing without slow_but_exact
            # in old checkpoints only, and never read
            "attention_softmax_in_fp32",  # the softmax is float32 whatever this says
            "bias_dropout_fusion",
            "masked_softmax_fusion",
            "n_inner",  # the hidden width is four times the model's
            "offset_alibi",
            "seq_length",  # of training; there is no table of positions that could end
            "skip_bias_add",
            "skip_bias_add_qkv",
            "unk_token_id",
        }
    )
    required = {
        # True makes the normed stream the residual: it is no sum of what the sublayers write.
        "apply_residual_connection_post_layernorm": False,
        "slow_but_exact": False,  # transformers leaves the output biases out then
    }
    prefixes = ("transformer.",)
    names = {
        "embedding": "word_embeddings",
        "embed_norm": "word_embeddings_layernorm",
        "attention.norm": "h.{i}.input_layernorm",
        **qkv_by_group("h.{i}.self_attention.query_key_value"),
        "attention.o": "h.{i}.self_attention.dense",
        "mlp.norm": "h.{i}.post_attention_layernorm",
        "mlp.in": "h.{i}.mlp.dense_h_to_4h",
        "mlp.out": "h.{i}.mlp.dense_4h_to_h",
        "final_norm": "ln_f",
        "unembedding": "lm_head",
    }

    def spec(self, config: Config) -> Spec:
        size = sizes(
            {
                "hidden_size": config["hidden_size"],
                "intermediate_size": 4 * config["hidden_size"],
                "num_attention_heads": config["n_head"],
                "num_hidden_layers": config["n_layer"],
                "vocab_size": config["vocab_size"],
                "max_position_embeddings": FOREVER,
            }
        )
        norm = NormSpec("layer", config["layer_norm_epsilon"], bias=True)
        return Spec(
            **size,
            norm=norm,
            final_norm=norm,
            embed_norm=norm,
            alibi=Alibi(alibi_slopes(size["n_heads"])),
            attn_scales=scales(size),
            qkv_bias=True,
            o_bias=True,
            mlp_bias=True,
            activation="gelu_tanh",
            tied=config["tie_word_embeddings"],
        )
