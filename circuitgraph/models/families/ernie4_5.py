"""ERNIE 4.5 (dense): Llama in which neighbours rotate, with biases everywhere or nowhere."""

from __future__ import annotations

from dataclasses import replace

from circuitgraph.models.families import Config, family
from circuitgraph.models.families.llama import Llama
from circuitgraph.models.spec import Spec


@family("ernie4_5")
class Ernie45(Llama):
    """Ernie4_5ForCausalLM."""

    handled = (Llama.handled - {"attention_bias", "mlp_bias"}) | {"use_bias"}
    irrelevant = frozenset()

    def spec(self, config: Config) -> Spec:
        bias = config["use_bias"]
        spec = super().spec({**config, "attention_bias": bias, "mlp_bias": bias})
        return replace(spec, rope_pairs="neighbours")
