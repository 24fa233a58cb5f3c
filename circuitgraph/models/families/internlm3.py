"""InternLM 3: Llama under another name; transformers runs it as such."""

from __future__ import annotations

from circuitgraph.models.families import family
from circuitgraph.models.families.llama import Llama


@family("internlm3")
class InternLM3(Llama):
    """LlamaForCausalLM.

    Its ``qkv_bias`` and ``bias`` are attention_bias and mlp_bias once transformers has read them;
    transformers refuses the one without the other.
    """

    irrelevant = frozenset({"attention_dropout"})
