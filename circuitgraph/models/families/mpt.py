"""MPT: ALiBi, LayerNorm without bias, no biases at all, a tied unembedding."""

from __future__ import annotations

from circuitgraph.models.families import (
    COMMON_IRRELEVANT,
    COMMON_REQUIRED,
    Config,
    Family,
    family,
)
from circuitgraph.models.families.common import scales, sizes
from circuitgraph.models.parameters import qkv_blocks
from circuitgraph.models.spec import Alibi, NormSpec, Spec

_INNER = "attn_config."  # put before the names of the fields inside it


def _alibi_slopes(n_heads: int) -> tuple[float, ...]:
    """The slope of each head: those of the next power of two of heads, every other one first.

    In torch's float32, so that the numbers are the same to the last bit.
    """
    import torch

    n_whole = 2 ** (n_heads - 1).bit_length()
    exponents = torch.arange(1, n_whole + 1).float() * (8 / n_whole)
    slopes = (1.0 / torch.pow(2, exponents)).tolist()
    return tuple(slopes if n_whole == n_heads else [*slopes[1::2], *slopes[::2]][:n_heads])


@family("mpt")
class Mpt(Family):
    """MptForCausalLM."""

    handled = frozenset(
        {
            "attn_config",
            *(_INNER + name for name in ("clip_qkv", "softmax_scale")),
            "d_model",
            "layer_norm_epsilon",
            "max_seq_len",
            "n_heads",
            "n_layers",
            "tie_word_embeddings",
            "vocab_size",
        }
    )
    irrelevant = frozenset(
        {
            *(_INNER + name for name in ("attn_impl", "attn_pdrop", "model_type")),
            "emb_pdrop",
            "embedding_fraction",  # of the embedding's gradient
            "init_config",
            "init_device",
            "learned_pos_emb",  # a model with ALiBi has none
            "resid_pdrop",
            "tokenizer_name",
            "verbose",
        }
    )
    # transformers reads none of these: its model does what the values say.
    required = {
        _INNER + "alibi": True,
        _INNER + "alibi_bias_max": 8,
        _INNER + "attn_type": "multihead_attention",
        _INNER + "attn_uses_sequence_id": False,
        _INNER + "prefix_lm": False,
        _INNER + "qk_ln": False,
        "expansion_ratio": 4,
        "logit_scale": None,
        "no_bias": True,
        "norm_type": "low_precision_layernorm",
    }
    prefixes = ("transformer.",)
    names = {
        "embedding": "wte",
        "attention.norm": "blocks.{i}.norm_1",
        **qkv_blocks("blocks.{i}.attn.Wqkv"),
        "attention.o": "blocks.{i}.attn.out_proj",
        "mlp.norm": "blocks.{i}.norm_2",
        "mlp.in": "blocks.{i}.ffn.up_proj",
        "mlp.out": "blocks.{i}.ffn.down_proj",
        "final_norm": "norm_f",
        "unembedding": "lm_head",
    }

    def check(self, config: Config) -> None:
        """As of all families, with the fields of attn_config under names of their own."""
        common = COMMON_IRRELEVANT | set(COMMON_REQUIRED)
        inner = {
            name if name in common and name != "model_type" else _INNER + name: value
            for name, value in config["attn_config"].items()
        }
        super().check({**inner, **config})

    def spec(self, config: Config) -> Spec:
        attention = config["attn_config"]
        size = sizes(
            {
                "hidden_size": config["d_model"],
                "intermediate_size": 4 * config["d_model"],
                "num_attention_heads": config["n_heads"],
                "num_hidden_layers": config["n_layers"],
                "max_position_embeddings": config["max_seq_len"],
                "vocab_size": config["vocab_size"],
            }
        )
        norm = NormSpec("layer", config["layer_norm_epsilon"])
        return Spec(
            **size,
            norm=norm,
            final_norm=norm,
            alibi=Alibi(_alibi_slopes(size["n_heads"])),
            attn_scales=scales(size, attention["softmax_scale"]),
            clip_qkv=attention["clip_qkv"] or None,  # zero clips nothing
            activation="gelu",
            tied=config["tie_word_embeddings"],
        )
