"""What the metadata of a GGUF file means, as the configuration of a Hugging Face checkpoint.

The keys are those of llama.cpp; what its own code fixes by architecture is fixed here too. A key of
the architecture that nothing here reads would change the computation, so it is refused by name.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from circuitgraph.errors import ModelError, list_problems
from circuitgraph.models.gguf.fields import Fields
from circuitgraph.models.gguf.header import GgufHeader
from circuitgraph.models.gguf.rotation import read_rotation

_GEMMA2_PERIOD, _GEMMA3_PERIOD = 2, 6  # of this many layers the last one sees all positions
_GEMMA2_CAPS = {"attn_logit_softcapping": 50.0, "final_logit_softcapping": 30.0}
# Models whose queries are scaled by the width per head, although their heads have another size,
# are told by their number of layers: Gemma 2 27B and Gemma 3 27B.
_LAYERS_OF_27B = {"gemma2": 46, "gemma3": 62}
# Beside the numbers of the computation: what converters write of their own work.
_IRRELEVANT = ("rope.scaling.finetuned",)
_WHOLE_FILE = "one file: merge the parts with llama.cpp's gguf-split --merge"


def read_settings(header: GgufHeader) -> tuple[dict[str, Any], frozenset[str]]:
    """The settings of the model, and the names of the tensors that they were read from.

    Raises:
        ModelError: another architecture, a part of a model, or settings that are missing or cannot
            be reproduced; they are named.
    """
    architecture = header.metadata.get("general.architecture")
    if architecture not in _READERS:
        raise ModelError(
            f"{header.name!r} is of the architecture {architecture!r}, which is not read from GGUF "
            f"files. Read are {', '.join(_READERS)}."
        )
    _refuse_parts(header)
    fields = Fields(header, architecture)
    settings = _read_common(fields) | _READERS[architecture](fields)
    settings |= read_rotation(fields, settings)
    for key in _IRRELEVANT:
        fields.take(key, None)
    if unread := fields.list_unread():
        raise ModelError(
            list_problems(
                f"{header.name!r} has settings that would or might change the computation in ways "
                "that circuitgraph cannot reproduce, so it is refused:",
                unread,
            )
        )
    return settings, frozenset(fields.tensors)


def _refuse_parts(header: GgufHeader) -> None:
    metadata = header.metadata
    kind = metadata.get("general.type", "model")
    if kind != "model":
        raise ModelError(f"{header.name!r} holds no model: its general.type is {kind!r}.")
    if metadata.get("split.count", 0) > 1:
        raise ModelError(
            f"{header.name!r} is one of {metadata['split.count']} parts. Give {_WHOLE_FILE}."
        )


def _read_common(fields: Fields) -> dict[str, Any]:
    """What all architectures have: sizes, norms, no second table where the heads are tied."""
    d_model, heads = fields.take_size("embedding_length"), fields.take_size("attention.head_count")
    n_layers = fields.take_size("block_count")
    if n_layers > len(fields.header.tensors):
        raise ModelError(
            f"{fields.header.name!r} has {len(fields.header.tensors)} tensors, too few for "
            f"{n_layers} layers."
        )
    d_head = fields.take_size("attention.key_length", d_model // heads)
    fields.require("attention.value_length", d_head)
    fields.require("attention.causal", True)
    fields.require("expert_count", 0)
    fields.require("expert_used_count", 0)
    table = fields.header.tensors.get("token_embd.weight")
    n_tokens = table.shape[0] if table and table.shape else 1
    return {
        "hidden_size": d_model,
        "intermediate_size": fields.take_size("feed_forward_length"),
        "num_hidden_layers": n_layers,
        "num_attention_heads": heads,
        "num_key_value_heads": fields.take_size("attention.head_count_kv", heads),
        "head_dim": d_head,
        "max_position_embeddings": fields.take_size("context_length"),
        "rms_norm_eps": fields.take_number("attention.layer_norm_rms_epsilon"),
        "vocab_size": fields.take_size("vocab_size", n_tokens),
        "tie_word_embeddings": "output.weight" not in fields.header.tensors,
    }


def _read_llama(fields: Fields) -> dict[str, Any]:
    return {
        "model_type": "llama",
        "hidden_act": "silu",
        "attention_bias": fields.has_tensor("attn_q.bias"),
        "mlp_bias": fields.has_tensor("ffn_up.bias"),
    }


def _read_qwen(fields: Fields) -> dict[str, Any]:
    settings = {
        "model_type": fields.architecture,
        "hidden_act": "silu",
        "sliding_window": None,
        "layer_types": ["full_attention"] * fields.take_size("block_count"),
    }
    if fields.architecture == "qwen3":  # the biases of Qwen 2 are no setting
        settings["attention_bias"] = fields.has_tensor("attn_q.bias")
    return settings


def _read_phi3(fields: Fields) -> dict[str, Any]:
    window = fields.take("attention.sliding_window", 0)  # the converter writes 0 for none
    return {
        "model_type": "phi3",
        "hidden_act": "silu",
        "sliding_window": fields.take_size("attention.sliding_window") if window else None,
    }


def _read_gemma(fields: Fields) -> dict[str, Any]:
    del fields
    return {
        "model_type": "gemma",
        "hidden_act": "gelu_pytorch_tanh",
        "attention_bias": False,
    }


def _read_gemma2(fields: Fields) -> dict[str, Any]:
    return {
        **_read_later_gemma(fields, _GEMMA2_PERIOD),
        "model_type": "gemma2",
        **{name: fields.take_number(name, default) for name, default in _GEMMA2_CAPS.items()},
    }


def _read_gemma3(fields: Fields) -> dict[str, Any]:
    return {
        **_read_later_gemma(fields, _GEMMA3_PERIOD),
        "model_type": "gemma3_text",
        "attn_logit_softcapping": None,
        "final_logit_softcapping": fields.take_number("final_logit_softcapping", 0.0) or None,
    }


def _read_later_gemma(fields: Fields, period: int) -> dict[str, Any]:
    """What Gemma 2 and 3 have in common: windows in most layers, their own scale of scores."""
    n_layers = fields.take_size("block_count")
    period = fields.take_size("attention.sliding_window_pattern", period)
    d_model, heads = fields.take_size("embedding_length"), fields.take_size("attention.head_count")
    d_head = fields.take_size("attention.key_length", d_model // heads)
    is_27b = n_layers == _LAYERS_OF_27B[fields.architecture]
    scalar = d_model // heads if is_27b else d_head
    scale = fields.take_number("attention.scale", 0.0)
    return {
        "hidden_activation": "gelu_pytorch_tanh",
        "attention_bias": False,
        "query_pre_attn_scalar": scale**-2 if scale else scalar,
        "sliding_window": fields.take_size("attention.sliding_window"),
        "layer_types": [
            "full_attention" if (layer + 1) % period == 0 else "sliding_attention"
            for layer in range(n_layers)
        ],
    }


_READERS: dict[str, Callable[[Fields], dict[str, Any]]] = {
    "llama": _read_llama,
    "qwen2": _read_qwen,
    "qwen3": _read_qwen,
    "phi3": _read_phi3,
    "gemma": _read_gemma,
    "gemma2": _read_gemma2,
    "gemma3": _read_gemma3,
}
