"""VaultGemma: Gemma 2 without the norms after its sublayers."""

from __future__ import annotations

from circuitgraph.models.families import Config, Family, family
from circuitgraph.models.families.common import sizes, whole_rotary
from circuitgraph.models.families.gemma import norm_of
from circuitgraph.models.families.gemma2 import Gemma2, gemma_fields
from circuitgraph.models.spec import Spec


@family("vaultgemma")
class VaultGemma(Family):
    """VaultGemmaForCausalLM."""

    handled = (Gemma2.handled - {"use_bidirectional_attention"}) | {"attention_bias"}
    irrelevant = Gemma2.irrelevant
    required = {"use_bidirectional_attention": False}
    names = {ours: theirs for ours, theirs in Gemma2.names.items() if "post_norm" not in ours}

    def spec(self, config: Config) -> Spec:
        size = sizes(config)
        fields = gemma_fields(config, size, norm_of(config))
        return Spec(
            **{**fields, "post_norm": None},
            **whole_rotary(config, size),
            attn_softcap=config["attn_logit_softcapping"],
            qkv_bias=config["attention_bias"],
            o_bias=config["attention_bias"],
        )
