"""The families over Hugging Face's own weights: one head, one MLP, the embedding, the logits."""

from transformers import PreTrainedModel

from ..names import sizes
from .base import Family
from .bloom import Bloom
from .experts import GptOss
from .gpt2 import GPT2
from .gpt_neox import GPTNeoX
from .llama import Granite, Llama
from .post_norm import Gemma2, Olmo2

__all__ = ["Family", "take_apart"]

_CLASSES: dict[str, type[Family]] = {
    "gpt2": GPT2,
    "llama": Llama,
    "gpt_neox": GPTNeoX,
    "gemma2": Gemma2,
    "bloom": Bloom,
    "olmo2": Olmo2,
    "granite": Granite,
    "gpt_oss": GptOss,
    "qwen2_moe": Llama,
}


def take_apart(model: PreTrainedModel) -> Family:
    sizes(model.config)  # refuses unknown families by name
    return _CLASSES[model.config.model_type](model)
