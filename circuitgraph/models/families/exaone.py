"""EXAONE 3 and 3.5: Llama with tensors under names of their own; transformers runs it as such."""

from __future__ import annotations

from circuitgraph.models.families import family
from circuitgraph.models.families.llama import Llama


@family("exaone")
class Exaone(Llama):
    """LlamaForCausalLM. Its num_layers, layer_norm_epsilon and activation_function are the fields
    that Llama has, once transformers has read them.
    """

    irrelevant = frozenset({"attention_dropout", "embed_dropout"})
    prefixes = ("transformer.",)
    names = {
        "embedding": "wte",
        "attention.norm": "h.{i}.ln_1",
        "attention.q": "h.{i}.attn.attention.q_proj",
        "attention.k": "h.{i}.attn.attention.k_proj",
        "attention.v": "h.{i}.attn.attention.v_proj",
        "attention.o": "h.{i}.attn.attention.out_proj",
        "mlp.norm": "h.{i}.ln_2",
        "mlp.gate": "h.{i}.mlp.c_fc_0",
        "mlp.in": "h.{i}.mlp.c_fc_1",
        "mlp.out": "h.{i}.mlp.c_proj",
        "final_norm": "ln_f",
        "unembedding": "lm_head",
    }
