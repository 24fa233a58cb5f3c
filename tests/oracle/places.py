"""Where in each family's Hugging Face modules the readers and writers of a layer are."""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import Module


@dataclass(frozen=True)
class Projection:
    """A module whose output, split evenly, holds `outputs`: (letter, head) one after the other."""

    module: Module
    compute: Callable[[Tensor], Tensor]
    """From the residual to the module's output, past any hook on the module."""
    outputs: list[tuple[str, int]]


@dataclass(frozen=True)
class Places:
    block: Module
    heads: int
    attention_in: Module
    """Its input is the residual that the heads read."""
    projections: list[Projection]
    mix_out: Module
    """Its input holds what the heads have fetched, side by side; its output is the attention's."""
    heads_done: Module
    """When it has run, the heads are in the residual stream."""
    mlp_in: Module
    """Its input is the residual that the MLP reads."""
    mlp_out: Module
    post_norm: Module | None = None
    multiplier: float = 1.0
    """What the block multiplies both sublayers' outputs by."""
    mlp_adds_residual: bool = False


def places(model: Any) -> list[Places]:
    """Layer by layer."""
    family = model.config.model_type
    make = {"gpt2": _gpt2, "bloom": _bloom, "gpt_neox": _gpt_neox}.get(family, _like_llama)
    base = model.base_model
    return [
        make(block, model.config)
        for block in (base.h if family in ("gpt2", "bloom") else base.layers)
    ]


def final_norm(model: Any) -> Module:
    names = {"gpt2": "ln_f", "bloom": "ln_f", "gpt_neox": "final_layer_norm"}
    return getattr(model.base_model, names.get(model.config.model_type, "norm"))


def _make_projection(norm: Module, module: Module, outputs: list[tuple[str, int]]) -> Projection:
    return Projection(module, lambda residual: module.forward(norm(residual)), outputs)


def _gpt2(block: Any, config: Any) -> Places:
    outputs = [(letter, head) for letter in "qkv" for head in range(config.n_head)]
    return Places(
        block=block,
        heads=config.n_head,
        attention_in=block.ln_1,
        projections=[_make_projection(block.ln_1, block.attn.c_attn, outputs)],
        mix_out=block.attn.c_proj,
        heads_done=block.attn.c_proj,
        mlp_in=block.ln_2,
        mlp_out=block.mlp,
    )


def _bloom(block: Any, config: Any) -> Places:
    outputs = [(letter, head) for head in range(config.n_head) for letter in "qkv"]
    attention = block.self_attention
    return Places(
        block=block,
        heads=config.n_head,
        attention_in=block.input_layernorm,
        projections=[_make_projection(block.input_layernorm, attention.query_key_value, outputs)],
        mix_out=attention.dense,
        heads_done=attention.dense,
        mlp_in=block.post_attention_layernorm,
        mlp_out=block.mlp,
        mlp_adds_residual=True,
    )


def _gpt_neox(block: Any, config: Any) -> Places:
    """With a parallel residual both sublayers are added after the MLP has run."""
    heads = config.num_attention_heads
    outputs = [(letter, head) for head in range(heads) for letter in "qkv"]
    return Places(
        block=block,
        heads=heads,
        attention_in=block.input_layernorm,
        projections=[
            _make_projection(block.input_layernorm, block.attention.query_key_value, outputs)
        ],
        mix_out=block.attention.dense,
        heads_done=block.mlp if config.use_parallel_residual else block.attention.dense,
        mlp_in=block.post_attention_layernorm,
        mlp_out=block.mlp,
    )


def _like_llama(block: Any, config: Any) -> Places:
    attention, family = block.self_attn, config.model_type
    has_post_norms = family in ("gemma2", "olmo2")
    mlp_norm = {"gemma2": "pre_feedforward_layernorm", "olmo2": "mlp"}.get(
        family, "post_attention_layernorm"
    )
    return Places(
        block=block,
        heads=config.num_attention_heads,
        attention_in=attention.q_proj if family == "olmo2" else block.input_layernorm,
        projections=[_separate(block, config, letter) for letter in "qkv"],
        mix_out=attention.o_proj,
        heads_done=block.post_attention_layernorm if has_post_norms else attention.o_proj,
        mlp_in=getattr(block, mlp_norm),
        mlp_out=block.post_feedforward_layernorm if has_post_norms else block.mlp,
        post_norm=block.post_attention_layernorm if has_post_norms else None,
        multiplier=config.residual_multiplier if family == "granite" else 1.0,
    )


def _separate(block: Any, config: Any, letter: str) -> Projection:
    heads = config.num_attention_heads if letter == "q" else config.num_key_value_heads
    outputs = [(letter, head) for head in range(heads)]
    linear = getattr(block.self_attn, f"{letter}_proj")
    if config.model_type != "olmo2":
        return _make_projection(block.input_layernorm, linear, outputs)
    if letter == "v":
        return Projection(linear, linear.forward, outputs)
    norm = getattr(
        block.self_attn, f"{letter}_norm"
    )  # over all heads: each head's own input must pass through it
    return Projection(norm, lambda residual: norm.forward(linear(residual)), outputs)


def ungroup_model(model: Any) -> Any:
    """The same function without groups: each query head has its own copy of the key-value weights.

    Only there can the query heads of one group have different key and value inputs.
    """
    groups = getattr(model.config, "num_key_value_heads", model.config.num_attention_heads)
    copies = model.config.num_attention_heads // groups
    if copies == 1:
        return model
    config = copy.deepcopy(model.config)
    config.num_key_value_heads = config.num_attention_heads
    state = model.state_dict()
    for name, value in state.items():
        if any(part in name for part in (".k_proj.", ".v_proj.", ".k_norm.")):
            state[name] = torch.cat([rows for rows in value.chunk(groups) for _ in range(copies)])
    twin = type(model)(config).to(model.dtype).eval()
    twin.load_state_dict(state)
    return twin
