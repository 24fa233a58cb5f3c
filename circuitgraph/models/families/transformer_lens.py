"""TransformerLens's HookedTransformer, versions 1 to 3: attention by head, all sizes free.

Its checkpoints are a state dict and a HookedTransformerConfig, not a folder in Hugging Face layout;
`circuitgraph.models.transformer_lens_checkpoint` opens them.
"""

from __future__ import annotations

import math
from copy import copy
from typing import Any

from circuitgraph.errors import ModelError, list_problems
from circuitgraph.models.families import Config, Family, activation_named, check_sizes, family
from circuitgraph.models.families.rope import read_rope
from circuitgraph.models.spec import Alibi, NormSpec, Rope, Spec

_SIZES = ("n_layers", "d_model", "n_ctx", "d_head", "d_vocab")  # without a default

# The other fields that the computation depends on, with TransformerLens's defaults.
_DEFAULTS: dict[str, Any] = {
    "act_fn": None,
    "attention_dir": "causal",
    "attn_coeff": 1.0,  # ours: the attention rate of Zhong et al. 2023, see `Spec.attn_rate`
    "attn_only": False,
    "attn_scale": -1.0,
    "attn_scores_soft_cap": -1.0,
    "attn_types": None,
    "clip_qkv": None,
    "d_mlp": None,
    "d_vocab_out": -1,
    "eps": 1e-5,
    "final_rms": False,
    "gated_mlp": False,
    "masked_token": None,  # ours: attention never looks at this token
    "n_heads": -1,
    "n_key_value_heads": None,
    "normalization_type": "LN",
    "NTK_by_parts_factor": 8.0,
    "NTK_by_parts_high_freq_factor": 4.0,
    "NTK_by_parts_low_freq_factor": 1.0,
    "NTK_original_ctx_len": 8192,
    "original_architecture": None,
    "output_logits_soft_cap": -1.0,
    "parallel_attn_mlp": False,
    "positional_embedding_type": "standard",
    "post_embedding_ln": False,
    "rotary_adjacent_pairs": False,
    "rotary_base": 10000.0,
    "rotary_base_local": None,
    "rotary_dim": None,
    "rotary_scaling_factor": 1.0,
    "scale_attn_by_inverse_layer_idx": False,
    "use_attn_scale": True,
    "use_local_attn": False,
    "use_normalization_before_and_after": False,
    "use_NTK_by_parts_rope": False,
    "use_qk_norm": False,
    "use_yarn_rope": False,
    "window_size": None,
    "yarn_attention_factor": 1.0,
    "yarn_beta_fast": 32.0,
    "yarn_beta_slow": 1.0,
    "yarn_factor": 1.0,
    "yarn_global_attn_only": False,
    "yarn_original_max_position_embeddings": 4096,
    "yarn_truncate": True,
}

# What fields may hold that may also be null.
_NULLABLE: dict[str, type] = {
    "act_fn": str,
    "attn_scores_soft_cap": float,
    "attn_types": list,
    "clip_qkv": float,
    "d_mlp": int,
    "masked_token": int,
    "n_key_value_heads": int,
    "normalization_type": str,
    "original_architecture": str,
    "output_logits_soft_cap": float,
    "rotary_base_local": float,
    "rotary_dim": int,
    "window_size": int,
}

# TransformerLens puts norms elsewhere in models that say they are one of these.
_REARRANGED = ("OlmoeForCausalLM", "Olmo2ForCausalLM", "Olmo3ForCausalLM")

_NORMS = ("LN", "LNPre", "RMS", "RMSPre", None)
_POSITIONS = ("standard", "rotary", "alibi")


@family("transformer_lens")
class TransformerLens(Family):
    """HookedTransformer.

    W_Q, W_K and W_V are stored [head, d_model, d_head], W_O [head, d_head, d_model].
    """

    handled = frozenset({*_SIZES, *_DEFAULTS})
    irrelevant = frozenset(
        {
            # text to tokens
            "default_prepend_bos",
            "tokenizer_name",
            "tokenizer_prepends_bos",
            "trust_remote_code",
            # initialisation and where the weights came from
            "checkpoint_index",
            "checkpoint_label_type",
            "checkpoint_value",
            "decoder_start_token_id",
            "from_checkpoint",
            "init_mode",
            "init_weights",
            "model_name",
            "n_params",
            "seed",
            # hooks and devices
            "device",
            "n_devices",
            "ungroup_grouped_query_attention",
            "use_attn_in",
            "use_attn_result",
            "use_hook_mlp_in",
            "use_hook_tokens",
            "use_split_qkv_input",
            # read only with settings that are refused below, or by other classes of TransformerLens
            "layer_norm_folding",
            "norm_topk_prob",
            "tie_word_embeddings",
            "train_seq_length",
            "uses_rms_norm",
        }
    )
    required = {
        "experts_per_token": None,
        "load_in_4bit": False,
        "num_experts": None,
        "quantization_method": None,
        "relative_attention_max_distance": None,
        "relative_attention_num_buckets": None,
        "use_attention_sinks": False,
        "use_dynamic_ntk_rope": False,
        "use_logn_attn": False,
    }
    prefixes = ()
    layout = "transformer_lens"
    buffers = r"\.attn\.(mask|IGNORE|rotary_sin|rotary_cos|alibi)$"
    names = {
        "embedding.weight": "embed.W_E",
        "embed_norm.weight": "embed.ln.w",
        "embed_norm.bias": "embed.ln.b",
        "positional.weight": "pos_embed.W_pos",
        "attention.norm.weight": "blocks.{i}.ln1.w",
        "attention.norm.bias": "blocks.{i}.ln1.b",
        "attention.q.weight": "blocks.{i}.attn.W_Q",
        "attention.q.bias": "blocks.{i}.attn.b_Q",
        "attention.k.weight": "blocks.{i}.attn.W_K",
        "attention.k.bias": "blocks.{i}.attn.b_K",
        "attention.v.weight": "blocks.{i}.attn.W_V",
        "attention.v.bias": "blocks.{i}.attn.b_V",
        "attention.q_norm.weight": "blocks.{i}.attn.q_norm.w",
        "attention.k_norm.weight": "blocks.{i}.attn.k_norm.w",
        "attention.o.weight": "blocks.{i}.attn.W_O",
        "attention.o.bias": "blocks.{i}.attn.b_O",
        "attention.post_norm.weight": "blocks.{i}.ln1_post.w",
        "mlp.norm.weight": "blocks.{i}.ln2.w",
        "mlp.norm.bias": "blocks.{i}.ln2.b",
        "mlp.gate.weight": "blocks.{i}.mlp.W_gate",
        "mlp.gate.bias": "blocks.{i}.mlp.b_gate",  # not TransformerLens's: the loader makes zeros
        "mlp.in.weight": "blocks.{i}.mlp.W_in",
        "mlp.in.bias": "blocks.{i}.mlp.b_in",
        "mlp.hidden_norm.weight": "blocks.{i}.mlp.ln.w",
        "mlp.hidden_norm.bias": "blocks.{i}.mlp.ln.b",
        "mlp.out.weight": "blocks.{i}.mlp.W_out",
        "mlp.out.bias": "blocks.{i}.mlp.b_out",
        "mlp.post_norm.weight": "blocks.{i}.ln2_post.w",
        "final_norm.weight": "ln_final.w",
        "final_norm.bias": "ln_final.b",
        "unembedding.weight": "unembed.W_U",
        "unembedding.bias": "unembed.b_U",
    }

    def check(self, config: Config) -> None:
        """Refuse unknown fields, missing ones and values of the wrong type."""
        super().check(config)
        problems = [f"{name} is missing" for name in _SIZES if name not in config]
        for name in sorted(self.handled & set(config)):
            value, field_type = config[name], _field_type(name)
            if value is None and name in _NULLABLE:
                continue
            if not _is_of_type(value, field_type):
                problems.append(f"{name} = {value!r}; it must be {field_type.__name__}")
        if problems:
            raise ModelError(
                list_problems("This is no configuration of a HookedTransformer:", problems)
            )

    def configured(self, config: Config) -> TransformerLens:
        """With the names and the unread tensors of this configuration."""
        adapted, settings = copy(self), _fill_defaults(config)
        if settings["n_key_value_heads"] is not None:  # W_K, b_K, W_V and b_V are called _W_K, ...
            adapted.names = {
                key: str(name).replace("attn.", "attn._")
                if key.startswith(("attention.k.", "attention.v."))
                else name
                for key, name in self.names.items()
            }
        if (
            settings["positional_embedding_type"] == "alibi"
        ):  # the table is there, but nobody reads it
            adapted.buffers += r"|^pos_embed\.W_pos$"
        both = settings["use_normalization_before_and_after"]
        if both and settings["normalization_type"] is not None:  # the loader checks that it is zero
            adapted.buffers += r"|\.attn\.b_O$"
        return adapted

    def spec(self, config: Config) -> Spec:
        c = _fill_defaults(config)
        optional = ("d_mlp", "n_key_value_heads", "window_size")
        check_sizes(c, *_SIZES, *(name for name in optional if c[name] is not None))
        n_heads, types = _n_heads(c), _layer_types(c)
        _check_settings(c, n_heads)
        norm, causal = _make_norm(c["normalization_type"], c), c["attention_dir"] == "causal"
        both = c["use_normalization_before_and_after"]
        return Spec(
            n_layers=c["n_layers"],
            n_heads=n_heads,
            n_kv_heads=c["n_key_value_heads"] or n_heads,
            d_model=c["d_model"],
            d_head=c["d_head"],
            d_vocab=c["d_vocab"],
            d_vocab_out=c["d_vocab"] if c["d_vocab_out"] == -1 else c["d_vocab_out"],
            n_ctx=c["n_ctx"],
            parallel=c["parallel_attn_mlp"],
            norm=norm,
            final_norm=_make_norm(c["normalization_type"], c, rms=c["final_rms"]),
            embed_norm=_make_norm("LN", c) if c["post_embedding_ln"] else None,
            post_norm=_make_norm("RMS", c) if both and norm is not None else None,
            qk_norm=_make_norm("RMS", c) if c["use_qk_norm"] else None,
            **_position_fields(c, n_heads, types),
            attn_scales=_attention_scales(c),
            attn_softcap=_read_softcap(c["attn_scores_soft_cap"]),
            attn_rate=c["attn_coeff"],
            # Attention in both directions has no window.
            windows=_layer_windows(types, c["window_size"]) if causal else (),
            causal=causal,
            unseen_token=c["masked_token"],
            clip_qkv=c["clip_qkv"],
            qkv_bias=True,
            o_bias=not (both and norm is not None),
            unembed_bias=True,
            **_mlp_fields(c),
            logit_softcap=_read_softcap(c["output_logits_soft_cap"]),
        )


def _fill_defaults(config: Config) -> dict[str, Any]:
    """With TransformerLens's defaults, and whole numbers as floats where floats are meant."""
    settings = {
        name: float(v) if type(v) is int and _field_type(name) is float else v
        for name, v in config.items()
    }
    return {**_DEFAULTS, **settings}


def _field_type(name: str) -> type:
    """What a field holds, if it is not null."""
    return int if name in _SIZES else _NULLABLE.get(name, type(_DEFAULTS.get(name)))


def _is_of_type(value: Any, field_type: type) -> bool:
    """Whether a value of JSON is of this type.

    A whole number is a float too, but no bool is a number.
    """
    if isinstance(value, bool):
        return field_type is bool
    accepted = {float: (int, float), list: (list, tuple)}
    return isinstance(value, accepted.get(field_type, field_type))


def _n_heads(c: Config) -> int:
    if c["n_heads"] == -1 and c["d_model"] % c["d_head"] == 0:
        return c["d_model"] // c["d_head"]
    check_sizes(c, "n_heads")
    return c["n_heads"]


def _layer_types(c: Config) -> tuple[str, ...]:
    """``local`` or ``global`` for each layer."""
    if not c["use_local_attn"]:
        return ("global",) * c["n_layers"]
    types = tuple(c["attn_types"] or ())[: c["n_layers"]]
    if len(types) < c["n_layers"] or set(types) - {"local", "global"} or c["window_size"] is None:
        raise ModelError(
            "use_local_attn needs a window_size and 'local' or 'global' in attn_types for each of "
            f"{c['n_layers']} layers; given are window_size = {c['window_size']!r} and "
            f"attn_types = {c['attn_types']!r}."
        )
    return types


def _check_settings(c: Config, n_heads: int) -> None:
    """Refuse what TransformerLens does not run either, and what a `Spec` cannot say."""
    norm, positions = c["normalization_type"], c["positional_embedding_type"]
    direction, masked = c["attention_dir"], c["masked_token"]
    kv_heads = c["n_key_value_heads"] or n_heads
    activation = None if c["attn_only"] else c["act_fn"]
    refused = {
        f"normalization_type = {norm!r}; known are {_NORMS}": norm not in _NORMS,
        f"positional_embedding_type = {positions!r}; known are {_POSITIONS}": positions
        not in _POSITIONS,
        f"attention_dir = {direction!r}; known are causal and bidirectional": (
            direction not in ("causal", "bidirectional")
        ),
        "act_fn is missing": activation is None and not c["attn_only"],
        f"n_heads = {n_heads} is not a multiple of n_key_value_heads = {kv_heads}": n_heads
        % kv_heads
        != 0,
        f"d_vocab_out = {c['d_vocab_out']}": c["d_vocab_out"] != -1 and c["d_vocab_out"] < 1,
        f"attn_coeff = {c['attn_coeff']}; it lies between 0 and 1": not 0 <= c["attn_coeff"] <= 1,
        "attn_scale = 0": c["use_attn_scale"] and c["attn_scale"] == 0,
        f"masked_token = {masked}; the vocabulary has {c['d_vocab']} tokens": (
            masked is not None and not 0 <= masked < c["d_vocab"]
        ),
        f"original_architecture = {c['original_architecture']!r}, of which the norms lie "
        "elsewhere": (c["original_architecture"] in _REARRANGED),
        "attn_only with parallel_attn_mlp": c["attn_only"] and c["parallel_attn_mlp"],
        "act_fn = 'solu_ln' with gated_mlp": activation == "solu_ln" and c["gated_mlp"],
        "positional_embedding_type = 'alibi' with attention_dir = 'bidirectional'": (
            positions == "alibi" and direction == "bidirectional"
        ),
        "post_embedding_ln with positional_embedding_type = 'standard'": (
            c["post_embedding_ln"] and positions == "standard"
        ),
        "clip_qkv with use_qk_norm": c["clip_qkv"] is not None and c["use_qk_norm"],
        f"use_normalization_before_and_after with normalization_type = {norm!r}": (
            c["use_normalization_before_and_after"] and norm in ("LN", "LNPre")
        ),
    }
    if problems := [problem for problem, holds in refused.items() if holds]:
        raise ModelError(
            list_problems(
                "This HookedTransformer configuration has settings that are refused:", problems
            )
        )


def _make_norm(kind: str | None, c: Config, *, rms: bool = False) -> NormSpec | None:
    """TransformerLens's norm of this name.

    ``Pre`` has neither weight nor bias: both were folded into the matrices behind the norm.
    """
    if kind is None:
        return None
    eps, weight = c["eps"], not kind.endswith("Pre")
    if rms or kind.startswith("RMS"):
        return NormSpec("rms", eps, weight=weight, cast_first=True)
    return NormSpec("layer", eps, weight=weight, bias=weight, cast_first=True)


def _position_fields(c: Config, n_heads: int, types: tuple[str, ...]) -> dict[str, Any]:
    """The fields of a spec that concern positions."""
    kind = c["positional_embedding_type"]
    if kind == "standard":
        return {"learned_positions": True}
    if kind == "alibi":
        start = 2 ** (-8 / n_heads)
        return {"alibi": Alibi(tuple(start ** (head + 1) for head in range(n_heads)))}
    rope_types = sorted(set(types))  # one rotary embedding for each type of layer
    return {
        "ropes": tuple(_make_rope(c, local=name == "local") for name in rope_types),
        "rope_of_layer": tuple(rope_types.index(name) for name in types),
        "rope_pairs": "neighbours" if c["rotary_adjacent_pairs"] else "halves",
    }


def _make_rope(c: Config, *, local: bool) -> Rope:
    """The rotary embedding of the layers of one type.

    TransformerLens scales the embedding of some types and not of others.
    """
    dims = c["d_head"] if c["rotary_dim"] is None else c["rotary_dim"]
    if dims > c["d_head"]:
        raise ModelError(f"rotary_dim = {dims} is larger than d_head = {c['d_head']}.")
    settings: dict[str, Any] = {"rope_type": "default"}
    if c["use_NTK_by_parts_rope"]:
        settings = {
            "rope_type": "llama3",
            "factor": c["NTK_by_parts_factor"],
            "low_freq_factor": c["NTK_by_parts_low_freq_factor"],
            "high_freq_factor": c["NTK_by_parts_high_freq_factor"],
            "original_max_position_embeddings": c["NTK_original_ctx_len"],
        }
    elif c["use_yarn_rope"] and not (local and c["yarn_global_attn_only"]):
        names = (
            "factor",
            "attention_factor",
            "beta_fast",
            "beta_slow",
            "original_max_position_embeddings",
            "truncate",
        )
        settings = {"rope_type": "yarn", **{name: c[f"yarn_{name}"] for name in names}}
    elif c["rotary_scaling_factor"] != 1.0 and not local:
        settings = {"rope_type": "linear", "factor": c["rotary_scaling_factor"]}
    own_base = local and c["rotary_base_local"] is not None
    settings["rope_theta"] = c["rotary_base_local"] if own_base else c["rotary_base"]
    return read_rope({"rope_parameters": settings, "max_position_embeddings": c["n_ctx"]}, dims)


def _attention_scales(c: Config) -> tuple[float, ...]:
    """What TransformerLens divides scores by, as factors."""
    divisor = 1.0
    if c["use_attn_scale"]:
        divisor = math.sqrt(c["d_head"]) if c["attn_scale"] == -1 else c["attn_scale"]
    by_layer = c["scale_attn_by_inverse_layer_idx"]
    return tuple(1.0 / (divisor * (layer + 1 if by_layer else 1)) for layer in range(c["n_layers"]))


def _read_softcap(cap: float | None) -> float | None:
    return cap if cap is not None and cap > 0 else None


def _layer_windows(types: tuple[str, ...], window: int | None) -> tuple[int | None, ...]:
    return tuple(window if name == "local" else None for name in types) if "local" in types else ()


def _mlp_fields(c: Config) -> dict[str, Any]:
    """The fields of a spec that concern MLPs.

    SoLU's norm has weights only where all norms have weights.
    """
    if c["attn_only"]:
        return {"d_mlp": None}
    kind = "LN" if c["normalization_type"] == "LN" else "LNPre"
    is_solu = c["act_fn"] in ("solu", "solu_ln")
    return {
        "d_mlp": 4 * c["d_model"] if c["d_mlp"] is None else c["d_mlp"],
        "mlp_bias": True,
        "activation": "solu" if is_solu else activation_named(c["act_fn"]),
        "gated": c["gated_mlp"],
        "hidden_norm": _make_norm(kind, c) if c["act_fn"] == "solu_ln" else None,
    }
