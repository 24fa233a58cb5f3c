"""Code World Model: Llama 3 with a window on most layers, without biases of attention."""

from __future__ import annotations

from dataclasses import replace

from circuitgraph.models.families import Config, family
from circuitgraph.models.families.common import windows_by_type
from circuitgraph.models.families.llama import Llama
from circuitgraph.models.spec import Spec


@family("cwm")
class Cwm(Llama):
    """CwmForCausalLM."""

    handled = (Llama.handled - {"attention_bias"}) | {"layer_types", "sliding_window"}
    required = {"attention_bias": False}

    def spec(self, config: Config) -> Spec:
        spec = super().spec({**config, "attention_bias": False})
        return replace(spec, windows=windows_by_type(config))
