"""Arcee (AFM): Llama with a plain MLP."""

from __future__ import annotations

from dataclasses import replace

from circuitgraph.models.families import Config, family
from circuitgraph.models.families.llama import Llama
from circuitgraph.models.spec import Spec


@family("arcee")
class Arcee(Llama):
    """ArceeForCausalLM."""

    irrelevant = frozenset({"attention_dropout"})
    names = {ours: theirs for ours, theirs in Llama.names.items() if ours != "mlp.gate"}

    def spec(self, config: Config) -> Spec:
        return replace(super().spec(config), gated=False)
