"""OLMo 3: as OLMo 2, with windows on most layers and rotary scaling on the others only."""

from __future__ import annotations

from circuitgraph.models.families import Config, family
from circuitgraph.models.families.common import sizes, windows_by_type
from circuitgraph.models.families.gemma3_text import rotary_by_type
from circuitgraph.models.families.olmo2 import Olmo2, olmo_fields
from circuitgraph.models.spec import Spec


@family("olmo3")
class Olmo3(Olmo2):
    """Olmo3ForCausalLM."""

    handled = Olmo2.handled | {"layer_types", "sliding_window"}

    def spec(self, config: Config) -> Spec:
        size = sizes(config)
        return Spec(
            **olmo_fields(config, size),
            **rotary_by_type(config, size),
            windows=windows_by_type(config),
        )
