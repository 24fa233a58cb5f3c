"""Ministral 8B: Mistral with a window on listed layers."""

from __future__ import annotations

from dataclasses import replace

from circuitgraph.models.families import Config, family
from circuitgraph.models.families.common import windows_by_type
from circuitgraph.models.families.mistral import Mistral
from circuitgraph.models.spec import Spec


@family("ministral")
class Ministral(Mistral):
    """MinistralForCausalLM."""

    handled = Mistral.handled | {"layer_types"}

    def spec(self, config: Config) -> Spec:
        return replace(super().spec(config), windows=windows_by_type(config))
