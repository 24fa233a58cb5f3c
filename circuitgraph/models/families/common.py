"""What families built like Llama share: field and tensor names, sizes, rotation, windows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from circuitgraph.errors import ModelError
from circuitgraph.models.families import Config, check_sizes
from circuitgraph.models.families.rope import read_rope
from circuitgraph.models.parameters import Rows, block

# Config fields of a classifier that old checkpoints of the GPT families carry.
SUMMARY = frozenset(
    {
        "summary_activation",
        "summary_first_dropout",
        "summary_proj_to_labels",
        "summary_type",
        "summary_use_proj",
    }
)

# Config fields that most families of this kind have.
SIZES = frozenset(
    {
        "hidden_size",
        "intermediate_size",
        "num_attention_heads",
        "num_hidden_layers",
        "num_key_value_heads",
        "head_dim",
        "vocab_size",
        "tie_word_embeddings",
    }
)

# Where most families of this kind keep their tensors.
NAMES: dict[str, str | Rows] = {
    "embedding": "embed_tokens",
    "attention.norm": "layers.{i}.input_layernorm",
    "attention.q": "layers.{i}.self_attn.q_proj",
    "attention.k": "layers.{i}.self_attn.k_proj",
    "attention.v": "layers.{i}.self_attn.v_proj",
    "attention.o": "layers.{i}.self_attn.o_proj",
    "mlp.norm": "layers.{i}.post_attention_layernorm",
    "mlp.gate": "layers.{i}.mlp.gate_proj",
    "mlp.in": "layers.{i}.mlp.up_proj",
    "mlp.out": "layers.{i}.mlp.down_proj",
    "final_norm": "norm",
    "unembedding": "lm_head",
}


def gate_up_blocks(name: str) -> dict[str, str | Rows]:
    """A gated MLP in one tensor: all rows of the gate, then all of the input."""
    return {
        f"mlp.{part}": block(name, number, lambda spec: (spec.d_mlp or 0, spec.d_mlp or 0))
        for number, part in enumerate(("gate", "in"))
    }


def sizes(config: Config) -> dict[str, Any]:
    """The sizes that a `Spec` needs, from the names that most families give them.

    Raises `ModelError` on sizes that do not fit each other.
    """
    optional = ("intermediate_size", "num_key_value_heads", "head_dim")
    check_sizes(
        config,
        "hidden_size",
        "num_attention_heads",
        "num_hidden_layers",
        "vocab_size",
        "max_position_embeddings",
        *(name for name in optional if config.get(name) is not None),
    )
    heads, d_model = config["num_attention_heads"], config["hidden_size"]
    kv_heads = config.get("num_key_value_heads") or heads
    if heads % kv_heads:
        raise ModelError(
            f"num_attention_heads = {heads} is not a multiple of num_key_value_heads = {kv_heads}."
        )
    if config.get("head_dim") is None and d_model % heads:
        raise ModelError(
            f"hidden_size = {d_model} is not a multiple of num_attention_heads = {heads}."
        )
    return {
        "n_layers": config["num_hidden_layers"],
        "n_heads": heads,
        "n_kv_heads": kv_heads,
        "d_model": d_model,
        "d_head": config.get("head_dim") or d_model // heads,
        "d_mlp": config.get("intermediate_size"),
        "d_vocab": config["vocab_size"],
        "d_vocab_out": config["vocab_size"],
        "n_ctx": config["max_position_embeddings"],
    }


def same_rotary(config: Config, size: Mapping[str, Any]) -> dict[str, Any]:
    """The same rotary embedding in every layer."""
    return {"ropes": (read_rope(config, size["d_head"]),), "rope_of_layer": (0,) * size["n_layers"]}


def scales(size: Mapping[str, Any], scale: float | None = None) -> tuple[float, ...]:
    """The same factor of the scores in every layer; 1 / sqrt(d_head) if none is given."""
    return (size["d_head"] ** -0.5 if scale is None else scale,) * size["n_layers"]


def same_window(config: Config, size: Mapping[str, Any]) -> tuple[int, ...]:
    """The sliding window in every layer, if the model has one."""
    if config["sliding_window"] is None:
        return ()
    check_sizes(config, "sliding_window")
    return (config["sliding_window"],) * size["n_layers"]


def whole_rotary(config: Config, size: Mapping[str, Any]) -> dict[str, Any]:
    """The same rotary embedding in every layer, of all dimensions of a head.

    transformers ignores ``partial_rotary_factor`` in these families, or fails over it. A
    configuration that has the field meant something else.
    """
    rotary = same_rotary(config, size)
    rotated = 2 * len(rotary["ropes"][0].frequencies)
    if rotated != size["d_head"]:
        raise ModelError(
            f"partial_rotary_factor: {rotated} of {size['d_head']} dimensions of each head would "
            f"be rotated, but {config['model_type']} models rotate all of them."
        )
    return rotary


def fill_layer_types(config: dict[str, Any], is_sliding: Callable[[int], bool]) -> dict[str, Any]:
    """The configuration with a type for each layer, where ``layer_types`` is not given."""
    if config["layer_types"] is None:
        kinds = ("full_attention", "sliding_attention")
        layers = range(config["num_hidden_layers"])
        config["layer_types"] = [kinds[is_sliding(layer)] for layer in layers]
    return config


def fill_upper_windows(config: dict[str, Any]) -> dict[str, Any]:
    """The configuration with windows in the upper layers, if they are to be used at all."""
    if not config["use_sliding_window"]:
        config["sliding_window"] = None
    window, first = config["sliding_window"], config["max_window_layers"]
    return fill_layer_types(config, lambda layer: window is not None and layer >= first)


# From these fields transformers makes ``sliding_window`` and ``layer_types``, and its models read
# only those two.
WINDOW_SOURCES = frozenset({"max_window_layers", "use_sliding_window"})


def windows_by_type(config: Config) -> tuple[int | None, ...]:
    """The sliding window of each layer that is listed as sliding."""
    types, window = config["layer_types"], config["sliding_window"]
    if unknown := sorted(set(types) - {"full_attention", "sliding_attention"}):
        raise ModelError(
            f"layer_types: {', '.join(unknown)} is not implemented; full and sliding attention are."
        )
    if len(types) != config["num_hidden_layers"]:
        raise ModelError(
            f"layer_types lists {len(types)} layers, but num_hidden_layers = "
            f"{config['num_hidden_layers']}."
        )
    if "sliding_attention" not in types:
        return ()
    if window is None:
        raise ModelError(
            "layer_types has sliding layers, but there is no sliding_window, or it is not to be "
            "used."
        )
    check_sizes(config, "sliding_window")
    return tuple(window if kind == "sliding_attention" else None for kind in types)
