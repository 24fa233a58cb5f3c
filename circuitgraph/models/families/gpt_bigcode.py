"""GPT-BigCode (StarCoder 1, SantaCoder): GPT-2 with one key-value head for all queries."""

from __future__ import annotations

from circuitgraph.models.families import Config, Family, activation_named, family
from circuitgraph.models.families.common import SUMMARY, scales
from circuitgraph.models.families.gptj import gpt_sizes
from circuitgraph.models.parameters import qkv_by_group
from circuitgraph.models.spec import NormSpec, Spec


@family("gpt_bigcode")
class GPTBigCode(Family):
    """GPTBigCodeForCausalLM."""

    handled = frozenset(
        {
            "activation_function",
            "layer_norm_epsilon",
            "multi_query",
            "n_embd",
            "n_head",
            "n_inner",
            "n_layer",
            "n_positions",
            "scale_attn_weights",
            "tie_word_embeddings",
            "vocab_size",
        }
    )
    irrelevant = SUMMARY | {
        "attn_pdrop",
        "embd_pdrop",
        "resid_pdrop",
        "num_key_value_heads",  # written, never read: multi_query says it
        # ask for a float32 softmax, which ours is, and theirs whatever they say
        "attention_softmax_in_fp32",
        "scale_attention_softmax_in_fp32",
        # of an inference server, in old checkpoints
        "inference_runner",
        "max_batch_size",
        "max_sequence_length",
        "pad_key_length",
        "pre_allocate_kv_cache",
        "runner_max_sequence_length",
        "validate_runner_input",
    }
    prefixes = ("transformer.",)
    buffers = r"\.attn\.(masked_)?bias$|^bias$"  # the causal mask, the old value of masked scores
    names = {
        "embedding": "wte",
        "positional": "wpe",
        "attention.norm": "h.{i}.ln_1",
        **qkv_by_group("h.{i}.attn.c_attn"),
        "attention.o": "h.{i}.attn.c_proj",
        "mlp.norm": "h.{i}.ln_2",
        "mlp.in": "h.{i}.mlp.c_fc",
        "mlp.out": "h.{i}.mlp.c_proj",
        "final_norm": "ln_f",
        "unembedding": "lm_head",
    }

    def spec(self, config: Config) -> Spec:
        size = gpt_sizes(config)
        if config["multi_query"]:
            size["n_kv_heads"] = 1
        norm = NormSpec("layer", config["layer_norm_epsilon"], bias=True)
        return Spec(
            **size,
            norm=norm,
            final_norm=norm,
            learned_positions=True,
            attn_scales=scales(size, None if config["scale_attn_weights"] else 1.0),
            qkv_bias=True,
            o_bias=True,
            mlp_bias=True,
            activation=activation_named(config["activation_function"]),
            tied=config["tie_word_embeddings"],
        )
