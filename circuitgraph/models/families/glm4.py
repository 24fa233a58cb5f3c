"""GLM 4 0414: GLM 4 9B with norms after each sublayer, too."""

from __future__ import annotations

from dataclasses import replace

from circuitgraph.models.families import Config, family
from circuitgraph.models.families.glm import Glm
from circuitgraph.models.spec import Spec


@family("glm4")
class Glm4(Glm):
    """Glm4ForCausalLM."""

    names = {
        **Glm.names,
        "attention.post_norm": "layers.{i}.post_self_attn_layernorm",
        "mlp.post_norm": "layers.{i}.post_mlp_layernorm",
    }

    def spec(self, config: Config) -> Spec:
        spec = super().spec(config)
        return replace(spec, post_norm=spec.norm)
