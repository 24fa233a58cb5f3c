"""Tiny random models of transformers, and the GGUF files that llama.cpp's converter makes of them.

The converter's steps are written here once more, from its source (convert_hf_to_gguf.py).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch
from transformers import AutoConfig, AutoModelForCausalLM

Write = Callable[[gguf.GGUFWriter, Any], None]

_SIZES = {
    "vocab_size": 50,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 40,
    "rms_norm_eps": 3e-3,
    "initializer_range": 0.3,
    "bos_token_id": None,
    "eos_token_id": None,
    "pad_token_id": None,
}
_WINDOW = {"sliding_window": 5}
_CAPS = {"attn_logit_softcapping": 2.0, "final_logit_softcapping": 3.0}
_LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 5000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}
_LONGROPE = {
    "rope_type": "longrope",
    "rope_theta": 700.0,
    "short_factor": [1.0, 1.1, 1.3, 1.4, 1.6, 1.9],
    "long_factor": [2.0, 2.1, 2.5, 3.5, 5.0, 9.0],
    "partial_rotary_factor": 0.75,
}
_BY_TYPE = {
    "full_attention": {"rope_type": "linear", "rope_theta": 900.0, "factor": 4.0},
    "sliding_attention": {"rope_type": "default", "rope_theta": 200.0},
}

# By architecture: fields of transformers' configuration, away from their defaults.
FIELDS: dict[str, dict[str, Any]] = {
    "llama": {"rope_parameters": _LLAMA3, "attention_bias": True, "mlp_bias": True},
    "qwen2": {"rope_parameters": {"rope_type": "linear", "rope_theta": 600.0, "factor": 3.0}},
    "qwen3": {
        "head_dim": 32,
        "tie_word_embeddings": True,
        "rope_parameters": {
            "rope_type": "yarn",
            "rope_theta": 600.0,
            "factor": 4.0,
            "original_max_position_embeddings": 10,
        },
    },
    "gemma": {"head_dim": 32, "rope_parameters": {"rope_type": "default", "rope_theta": 600.0}},
    "gemma2": {"head_dim": 32, "query_pre_attn_scalar": 32, **_WINDOW, **_CAPS},
    "gemma3": {
        "head_dim": 32,
        "query_pre_attn_scalar": 32,
        "num_hidden_layers": 7,
        "rope_parameters": _BY_TYPE,
        "final_logit_softcapping": 3.0,
        **_WINDOW,
    },
    "phi3": {
        "rope_parameters": _LONGROPE,
        "original_max_position_embeddings": 12,
        "sliding_window": 9,
    },
}


def make_model(architecture: str, **fields: Any) -> Any:
    """A random model of transformers with fields away from their defaults; biases are random."""
    kind = "gemma3_text" if architecture == "gemma3" else architecture
    config = AutoConfig.for_model(kind, **{**_SIZES, **FIELDS[architecture], **fields})
    config._attn_implementation = "eager"
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config, attn_implementation="eager").eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 1:
                parameter += 0.2 * torch.randn_like(parameter)
    return model


def write_gguf(
    path: Path,
    architecture: str,
    model: Any,
    kind: str = "F32",
    write_more: Write | None = None,
    *,
    has_vocabulary: bool = False,
) -> Path:
    """Write the model as a GGUF file, its matrices rounded, and round the model's own alike.

    Args:
        kind: how matrices are rounded, a name of ``gguf.GGMLQuantizationType``.
        write_more: adds metadata or tensors of its own.
        has_vocabulary: write tokens without text, for transformers' own loader.
    """
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_name("tiny")
    _write_settings(writer, architecture, model.config)
    if has_vocabulary:
        writer.add_token_list([f"t{i}" for i in range(model.config.vocab_size)])
    if write_more is not None:
        write_more(writer, model)
    _write_tensors(writer, architecture, model, gguf.GGMLQuantizationType[kind])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _write_settings(writer: gguf.GGUFWriter, architecture: str, config: Any) -> None:
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    d_head = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    if architecture in ("llama", "qwen3", "gemma", "gemma2", "gemma3"):
        writer.add_key_length(d_head)
        writer.add_value_length(d_head)
    if architecture == "llama":
        writer.add_vocab_size(config.vocab_size)
        writer.add_rope_dimension_count(d_head)
    if architecture == "gemma2":
        writer.add_attn_logit_softcapping(config.attn_logit_softcapping)
    if architecture in ("gemma2", "gemma3"):
        writer.add_final_logit_softcapping(config.final_logit_softcapping)
    if architecture in ("gemma2", "gemma3", "phi3"):
        writer.add_sliding_window(config.sliding_window or 0)
    _write_rotation(writer, architecture, config, d_head)


def _write_rotation(writer: gguf.GGUFWriter, architecture: str, config: Any, d_head: int) -> None:
    rope = config.rope_parameters
    if architecture == "gemma3":
        writer.add_rope_freq_base_swa(rope["sliding_attention"]["rope_theta"])
        rope = rope["full_attention"]
    kind = rope["rope_type"]
    writer.add_rope_freq_base(rope["rope_theta"])
    if kind in ("linear", "yarn"):
        writer.add_rope_scaling_type(gguf.RopeScalingType(kind))
        writer.add_rope_scaling_factor(rope["factor"])
    if kind == "yarn":
        writer.add_rope_scaling_orig_ctx_len(rope["original_max_position_embeddings"])
    if kind == "llama3":
        writer.add_tensor("rope_freqs.weight", _llama3_factors(rope, d_head))
    if architecture == "phi3":
        writer.add_rope_dimension_count(int(rope.get("partial_rotary_factor", 1.0) * d_head))
    if kind == "longrope":
        old = config.original_max_position_embeddings
        writer.add_rope_scaling_orig_ctx_len(old)
        scale = config.max_position_embeddings / old
        writer.add_rope_scaling_attn_factors(math.sqrt(1 + math.log(scale) / math.log(old)))
        for length in ("long", "short"):
            factors = np.array(rope[f"{length}_factor"], np.float32)
            writer.add_tensor(f"rope_factors_{length}.weight", factors)


def _llama3_factors(rope: Any, d_head: int) -> np.ndarray:
    """The converter's loop over the frequencies (its ``LlamaModel.generate_extra_tensors``)."""
    old, low, high = (
        rope[key]
        for key in ("original_max_position_embeddings", "low_freq_factor", "high_freq_factor")
    )
    factors = []
    for i in range(0, d_head, 2):
        wavelen = 2 * math.pi * rope["rope_theta"] ** (i / d_head)
        if wavelen < old / high:
            factors.append(1.0)
        elif wavelen > old / low:
            factors.append(rope["factor"])
        else:
            smooth = (old / wavelen - low) / (high - low)
            factors.append(1 / ((1 - smooth) / rope["factor"] + smooth))
    return np.array(factors, np.float32)


def _write_tensors(
    writer: gguf.GGUFWriter, architecture: str, model: Any, kind: gguf.GGMLQuantizationType
) -> None:
    config = model.config
    number = {name: arch for arch, name in gguf.MODEL_ARCH_NAMES.items()}[architecture]
    names = gguf.get_tensor_name_map(number, config.num_hidden_layers)
    heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}
    for name, parameter in model.named_parameters():  # of a tied pair, the embedding
        stored = names.get_name(name, try_suffixes=(".weight", ".bias"))
        assert stored is not None, name
        values = parameter.detach().numpy()
        if architecture == "llama" and (part := name.split(".")[-2]) in heads:
            halves = values.reshape(heads[part], 2, -1, *values.shape[1:])
            values = halves.swapaxes(1, 2).reshape(values.shape)
        if architecture.startswith("gemma") and name.endswith("norm.weight"):
            values = values + 1
        if values.ndim == 1 or kind == gguf.GGMLQuantizationType.F32:
            writer.add_tensor(stored, np.ascontiguousarray(values))
            continue
        writer.add_tensor(stored, gguf.quantize(np.ascontiguousarray(values), kind), raw_dtype=kind)
        rounded = gguf.dequantize(gguf.quantize(parameter.detach().numpy(), kind), kind)
        parameter.data.copy_(torch.tensor(rounded))
