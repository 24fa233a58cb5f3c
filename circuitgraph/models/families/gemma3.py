"""Gemma 3 with a vision tower, on text only: the text model inside it runs.

Images, and the modules that read images, are left out.
"""

from __future__ import annotations

from circuitgraph.errors import ModelError
from circuitgraph.models.families import Config, family
from circuitgraph.models.families.gemma3_text import Gemma3Text
from circuitgraph.models.spec import Spec


@family("gemma3")
class Gemma3(Gemma3Text):
    """Gemma3ForConditionalGeneration without images; attention is causal then."""

    handled = frozenset({"text_config", "tie_word_embeddings"})
    irrelevant = frozenset(
        {
            "vision_config",
            "boi_token_id",
            "boi_token_index",
            "eoi_token_id",
            "eoi_token_index",
            "image_token_id",
            "image_token_index",
            "mm_tokens_per_image",
        }
    )
    required = {}
    # as transformers 4 wrote them, and as it holds them in memory
    prefixes = ("language_model.model.", "language_model.", "model.language_model.")
    buffers = r"rotary_emb\.inv_freq$|^(model\.)?(vision_tower|multi_modal_projector)\."

    def check(self, config: Config) -> None:
        super().check(config)
        Gemma3Text().check(config["text_config"])

    def spec(self, config: Config) -> Spec:
        text = config["text_config"]
        if text["final_logit_softcapping"] is not None:
            raise ModelError(
                "final_logit_softcapping is set, but transformers does not apply it in a Gemma 3 "
                "with a vision tower. Save the text model alone, as Gemma3ForCausalLM (model_type "
                "gemma3_text)."
            )
        return super().spec({**text, "tie_word_embeddings": config["tie_word_embeddings"]})
