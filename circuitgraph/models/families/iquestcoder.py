"""IQuest-Coder V1: Llama under another name; transformers runs it as such."""

from __future__ import annotations

from circuitgraph.models.families import family
from circuitgraph.models.families.llama import Llama


@family("iquestcoder")
class IQuestCoder(Llama):
    """LlamaForCausalLM. What the makers' own code can do beyond it is refused."""

    irrelevant = frozenset({"attention_dropout"})
    required = {"clip_qkv": None, "use_sliding_window": False}
