"""Seed-OSS: Llama with two switches for the biases of attention: inputs and output."""

from __future__ import annotations

from dataclasses import replace

from circuitgraph.models.families import Config, family
from circuitgraph.models.families.llama import Llama
from circuitgraph.models.spec import Spec


@family("seed_oss")
class SeedOss(Llama):
    """SeedOssForCausalLM."""

    handled = Llama.handled | {"attention_out_bias"}
    irrelevant = Llama.irrelevant | {"residual_dropout"}

    def spec(self, config: Config) -> Spec:
        return replace(super().spec(config), o_bias=config["attention_out_bias"])
