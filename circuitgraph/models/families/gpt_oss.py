"""gpt-oss: attention sinks, windows on every other layer, experts with biases and clipped gates."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np

from circuitgraph.errors import ModelError
from circuitgraph.models.families import Config, Family, family
from circuitgraph.models.families.common import (
    NAMES,
    SIZES,
    scales,
    sizes,
    whole_rotary,
    windows_by_type,
)
from circuitgraph.models.families.mixtral import EXPERTS, TRAINING, read_experts
from circuitgraph.models.families.rope import FIELDS as ROPE_FIELDS
from circuitgraph.models.parameters import Rows
from circuitgraph.models.spec import NormSpec, Spec


def _every_other(first: int) -> Callable[[Spec], tuple[np.ndarray, int]]:
    """Gate (0) and input (1) of a hidden neuron lie side by side."""

    def column_index(spec: Spec) -> tuple[np.ndarray, int]:
        width = 2 * (spec.d_mlp or 0)
        return np.arange(first, width, 2), width

    return column_index


def _all_of_stream(spec: Spec) -> tuple[np.ndarray, int]:
    return np.arange(spec.d_model), spec.d_model


def _expert_names() -> dict[str, str | Rows]:
    """Where the experts of a layer are: all in one tensor, each matrix [in, out]."""
    parts = {
        "gate": ("gate_up_proj", _every_other(0)),
        "in": ("gate_up_proj", _every_other(1)),
        "out": ("down_proj", _all_of_stream),
    }
    return {
        f"mlp.{ours}.{kind}": Rows(f"layers.{{i}}.mlp.experts.{theirs}{end}", index, True)
        for ours, (theirs, index) in parts.items()
        for kind, end in (("weight", ""), ("bias", "_bias"))
    }


@family("gpt_oss")
class GptOss(Family):
    """GptOssForCausalLM, its weights in bfloat16 or wider."""

    handled = (
        SIZES
        | ROPE_FIELDS
        | EXPERTS
        | {"attention_bias", "layer_types", "rms_norm_eps", "sliding_window", "swiglu_limit"}
    )
    irrelevant = TRAINING | {
        # in the checkpoints of its makers, and never read
        "experts_per_token",  # num_experts_per_tok counts
        "initial_context_length",  # original_max_position_embeddings counts
    }
    required = {
        "hidden_act": "silu",  # never read: the gate is x sigmoid(swiglu_alpha x)
        "swiglu_alpha": 1.702,
    }
    names = {
        **NAMES,
        **_expert_names(),
        "attention.sink.weight": "layers.{i}.self_attn.sinks",
        "mlp.router": "layers.{i}.mlp.router",
    }

    def check(self, config: Config) -> None:
        """As of all families; says what to do about experts that are stored in MXFP4."""
        quantised = config.get("quantization_config")
        if isinstance(quantised, Mapping) and quantised.get("quant_method") == "mxfp4":
            raise ModelError(
                "This gpt_oss checkpoint stores its experts in MXFP4 (quantization_config), which "
                "is not read. Load it in transformers with "
                "quantization_config=Mxfp4Config(dequantize=True), save it with save_pretrained, "
                "and give that folder."
            )
        super().check(config)

    def spec(self, config: Config) -> Spec:
        size = sizes(config)
        norm = NormSpec("rms", config["rms_norm_eps"])
        return Spec(
            **size,
            **whole_rotary(config, size),
            norm=norm,
            final_norm=norm,
            attn_scales=scales(size),
            attn_sinks=True,
            windows=windows_by_type(config),
            qkv_bias=config["attention_bias"],
            o_bias=config["attention_bias"],
            mlp_bias=True,
            activation="quick_gelu",  # x sigmoid(1.702 x)
            gated=True,
            gate_clip=config["swiglu_limit"],
            # A softmax of the chosen scores alone is the softmax of all, made to sum to one.
            experts=replace(read_experts(config, renormalise=True), router_bias=True),
            tied=config["tie_word_embeddings"],
        )
