"""OLMo 3: as OLMo 2, with windows on most layers and rotary scaling on the others only."""

from __future__ import annotations

from typing import Any

from circuitgraph.models.families import Config, family
from circuitgraph.models.families.common import fill_layer_types, sizes, windows_by_type
from circuitgraph.models.families.gemma3_text import fill_rope_by_type, rotary_by_type
from circuitgraph.models.families.olmo2 import Olmo2, olmo_fields
from circuitgraph.models.spec import Spec


@family("olmo3")
class Olmo3(Olmo2):
    """Olmo3ForCausalLM."""

    handled = Olmo2.handled | {"layer_types", "sliding_window"}

    def fill(self, config: dict[str, Any]) -> dict[str, Any]:
        theta = config.pop("rope_theta")
        fill_layer_types(config, lambda layer: (layer + 1) % 4 != 0)
        return fill_rope_by_type(config, theta, 500_000.0)

    def spec(self, config: Config) -> Spec:
        size = sizes(config)
        return Spec(
            **olmo_fields(config, size),
            **rotary_by_type(config, size),
            windows=windows_by_type(config),
        )
