"""Helium: Llama in which neighbours rotate; the output projection has no bias."""

from __future__ import annotations

from dataclasses import replace

from circuitgraph.models.families import Config, family
from circuitgraph.models.families.llama import Llama
from circuitgraph.models.spec import NormSpec, Spec


@family("helium")
class Helium(Llama):
    """HeliumForCausalLM. All heads together must be as wide as the stream."""

    irrelevant = frozenset({"attention_dropout"})

    def spec(self, config: Config) -> Spec:
        norm = NormSpec("rms", config["rms_norm_eps"])
        return replace(
            super().spec(config),
            norm=norm,
            final_norm=norm,
            rope_pairs="neighbours",
            o_bias=False,
        )
