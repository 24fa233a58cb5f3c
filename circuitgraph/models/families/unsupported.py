"""Architectures that no family file can make, and why."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

_REASONS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "state-space or recurrent layers, which have no attention heads to put into a graph": (
            *("mamba", "mamba2", "falcon_mamba", "falcon_h1", "bamba", "jamba", "zamba", "zamba2"),
            *("granitemoehybrid", "nemotron_h", "recurrent_gemma", "rwkv", "xlstm"),
        ),
        "layers of convolutions among those of attention; all must have the same parts": (
            *("lfm2", "lfm2_moe"),
        ),
        "linear attention, a state that is updated token by token, without a pattern over keys": (
            *("qwen3_next", "qwen3_5", "qwen3_5_text", "qwen3_5_moe", "qwen3_5_moe_text"),
            *("kimi_linear", "minimax", "bailing_hybrid", "olmo_hybrid"),
        ),
        "latent attention, whose keys and values are made of one compressed vector": (
            *("deepseek_v2", "deepseek_v3", "deepseek_v32", "glm4_moe_lite", "glm_moe_dsa"),
            *("longcat_flash", "minicpm3", "mistral4", "sarvam_mla", "youtu"),
        ),
        "layers without experts before those with them; all must have the same parts": (
            *("dots1", "ernie4_5_moe", "exaone_moe", "afmoe"),
        ),
        "scores that are scaled by the position of the query": (
            *("ministral3", "llama4", "llama4_text"),
        ),
        "heads that are differences of two softmaxes": ("diffllama",),
        "several residual streams": ("gemma3n", "gemma3n_text"),
        "norms of the residual stream itself, which then is no sum of what was written": (
            "openai-gpt",
        ),
        "only an encoder, which predicts no next token": (
            *("albert", "bert", "camembert", "convbert", "deberta", "deberta-v2", "distilbert"),
            *("electra", "ernie", "esm", "eurobert", "longformer", "mobilebert", "modernbert"),
            *("mpnet", "nomic_bert", "roberta", "xlm-roberta", "xlm-roberta-xl"),
        ),
        "an encoder with a decoder that attends to it": (
            *("bart", "blenderbot", "encoder-decoder", "led", "longt5", "m2m_100", "marian"),
            *("mbart", "mt5", "nllb-moe", "pegasus", "prophetnet", "switch_transformers", "t5"),
            *("t5gemma", "umt5", "whisper"),
        ),
        "images, sound or video; of models that read text beside them only Gemma 3 is known": (
            *("clip", "hubert", "siglip", "vit", "wav2vec2"),
            *("aya_vision", "chameleon", "gemma4", "glm4v", "idefics", "idefics2", "idefics3"),
            *("internvl", "kimi_k25", "llava", "llava_next", "llava_onevision", "mistral3"),
            *("mllama", "paligemma", "phi4_multimodal", "qwen2_5_vl", "qwen2_audio", "qwen2_vl"),
            *("qwen3_vl", "qwen3_vl_moe", "smolvlm", "voxtral"),
        ),
    }
)

UNSUPPORTED: Mapping[str, str] = MappingProxyType(
    {model_type: reason for reason, types in _REASONS.items() for model_type in types}
)
"""transformers' ``model_type`` -> what such a model has that one transformer cannot say."""


def explain_unsupported(model_type: object) -> str:
    """The end of a sentence on an architecture without a family: why, or what can be done."""
    reason = UNSUPPORTED.get(model_type) if isinstance(model_type, str) else None
    return f": {reason}" if reason else ", see docs/adding-a-family.md"
