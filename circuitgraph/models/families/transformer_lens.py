"""TransformerLens's HookedTransformer, versions 1 to 3: attention by head, all sizes and switches
free.

Its checkpoints are a state dict and a HookedTransformerConfig, not a folder in Hugging Face layout;
`circuitgraph.models.lens` opens them.
"""

from __future__ import annotations

import math
from typing import Any

from circuitgraph.errors import ModelError, list_problems
from circuitgraph.models.families import Config, Family, activation_named, check_sizes, family
from circuitgraph.models.families.rope import rope_of
from circuitgraph.models.spec import Alibi, NormSpec, Rope, Spec

_SIZES = ("n_layers", "d_model", "n_ctx", "d_head", "d_vocab")  # without a default

# The other fields that the computation depends on, with TransformerLens's defaults.
_DEFAULTS: dict[str, Any] = {
    "act_fn": None,
    "attention_dir": "causal",
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
    """HookedTransformer. W_Q, W_K and W_V are stored [head, d_model, d_head], W_O [head, d_head,
    d_model].
    """

    handled = frozenset({*_SIZES, *_DEFAULTS})
    irrelevant = frozenset(
        {
            # text to tokens
            *(
                "default_prepend_bos",
                "tokenizer_name",
                "tokenizer_prepends_bos",
                "trust_remote_code",
            ),
            # initialisation and where the weights came from
            *(
                "init_mode",
                "init_weights",
                "seed",
                "model_name",
                "n_params",
                "decoder_start_token_id",
            ),
            *("from_checkpoint", "checkpoint_index", "checkpoint_label_type", "checkpoint_value"),
            # hooks and devices
            *(
                "use_attn_in",
                "use_attn_result",
                "use_hook_mlp_in",
                "use_hook_tokens",
                "use_split_qkv_input",
            ),
            *("ungroup_grouped_query_attention", "device", "n_devices"),
            # read only with settings that are refused below, or by other classes of TransformerLens
            *(
                "layer_norm_folding",
                "norm_topk_prob",
                "tie_word_embeddings",
                "train_seq_length",
                "uses_rms_norm",
            ),
        }
    )
    required = {  # noqa: RUF012
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
    layout = "lens"
    buffers = r"\.attn\.(mask|IGNORE|rotary_sin|rotary_cos|alibi)$"
    names = {  # noqa: RUF012
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
        "mlp.gate.bias": "blocks.{i}.mlp.b_gate",  # not TransformerLens's; `lens` makes zeros of that name
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
            kind = _kind(name)
            if not _is_a(config[name], kind) and not (config[name] is None and name in _NULLABLE):
                problems.append(f"{name} = {config[name]!r}; it must be {kind.__name__}")
        if problems:
            raise ModelError(
                list_problems("This is no configuration of a HookedTransformer:", problems)
            )

    def spec(self, config: Config) -> Spec:
        c = _completed(config)
        optional = ("d_mlp", "n_key_value_heads", "window_size")
        check_sizes(c, *_SIZES, *(name for name in optional if c[name] is not None))
        n_heads, types = _n_heads(c), _types(c)
        _check_sense(c, n_heads)
        norm, causal = _norm(c["normalization_type"], c), c["attention_dir"] == "causal"
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
            final_norm=_norm(c["normalization_type"], c, rms=c["final_rms"]),
            embed_norm=_norm("LN", c) if c["post_embedding_ln"] else None,
            post_norm=_norm("RMS", c) if both and norm is not None else None,
            qk_norm=_norm("RMS", c) if c["use_qk_norm"] else None,
            **_positions(c, n_heads, types),
            attn_scales=_scales(c),
            attn_softcap=_cap(c["attn_scores_soft_cap"]),
            windows=_windows(types, c["window_size"])
            if causal
            else (),  # both ways means everywhere
            causal=causal,
            unseen_token=c["masked_token"],
            clip_qkv=c["clip_qkv"],
            qkv_bias=True,
            o_bias=not (both and norm is not None),
            unembed_bias=True,
            **_mlp(c),
            logit_softcap=_cap(c["output_logits_soft_cap"]),
        )


def family_for(config: Config) -> Family:
    """The family as checkpoints of this configuration store it."""
    found, given = TransformerLens(), _completed(config)
    if given["n_key_value_heads"] is not None:
        keys = {
            key: name
            for key, name in found.names.items()
            if key.startswith(("attention.k.", "attention.v."))
        }
        found.names = {
            **found.names,
            **{key: str(name).replace("attn.", "attn._") for key, name in keys.items()},
        }
    if given["positional_embedding_type"] == "alibi":  # the table is there, and nothing reads it
        found.buffers += r"|^pos_embed\.W_pos$"
    if (
        given["use_normalization_before_and_after"] and given["normalization_type"] is not None
    ):  # `lens` looks at it
        found.buffers += r"|\.attn\.b_O$"
    return found


def _completed(config: Config) -> dict[str, Any]:
    """With TransformerLens's defaults, and whole numbers as floats where floats are meant."""
    given = {
        name: float(v) if type(v) is int and _kind(name) is float else v
        for name, v in config.items()
    }
    return {**_DEFAULTS, **given}


def _kind(name: str) -> type:
    """What a field holds, if it is not null."""
    return int if name in _SIZES else _NULLABLE.get(name, type(_DEFAULTS.get(name)))


def _is_a(value: Any, kind: type) -> bool:
    """Whether a value of JSON is of this type; a whole number is a float too, but no bool is a
    number.
    """
    if isinstance(value, bool):
        return kind is bool
    return isinstance(value, {float: (int, float), list: (list, tuple)}.get(kind, kind))


def _n_heads(c: Config) -> int:
    if c["n_heads"] == -1 and c["d_model"] % c["d_head"] == 0:
        return c["d_model"] // c["d_head"]
    check_sizes(c, "n_heads")
    return c["n_heads"]


def _types(c: Config) -> tuple[str, ...]:
    """``local`` or ``global`` for each layer."""
    if not c["use_local_attn"]:
        return ("global",) * c["n_layers"]
    types = tuple(c["attn_types"] or ())[: c["n_layers"]]
    if len(types) < c["n_layers"] or set(types) - {"local", "global"} or c["window_size"] is None:
        raise ModelError(
            "use_local_attn needs a window_size and 'local' or 'global' in attn_types for each of "
            f"{c['n_layers']} layers; given are window_size = {c['window_size']!r} and attn_types = "
            f"{c['attn_types']!r}."
        )
    return types


def _check_sense(c: Config, n_heads: int) -> None:
    """Refuse what TransformerLens does not run either, and what a `Spec` cannot say."""
    norm, positions, direction = (
        c["normalization_type"],
        c["positional_embedding_type"],
        c["attention_dir"],
    )
    kv_heads, activation = (
        c["n_key_value_heads"] or n_heads,
        None if c["attn_only"] else c["act_fn"],
    )
    masked = c["masked_token"]
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


def _norm(kind: str | None, c: Config, *, rms: bool = False) -> NormSpec | None:
    """TransformerLens's norm of this name; ``Pre`` has neither weight nor bias, having been folded."""
    if kind is None:
        return None
    eps, weight = c["eps"], not kind.endswith("Pre")
    if rms or kind.startswith("RMS"):
        return NormSpec("rms", eps, weight=weight, cast_first=True)
    return NormSpec("layer", eps, weight=weight, bias=weight, cast_first=True)


def _positions(c: Config, n_heads: int, types: tuple[str, ...]) -> dict[str, Any]:
    """What the spec says of positions."""
    kind = c["positional_embedding_type"]
    if kind == "standard":
        return {"learned_positions": True}
    if kind == "alibi":
        start = 2 ** (-8 / n_heads)
        return {"alibi": Alibi(tuple(start ** (head + 1) for head in range(n_heads)))}
    present = sorted(set(types))
    return {
        "ropes": tuple(_rope(c, local=name == "local") for name in present),
        "rope_of_layer": tuple(present.index(name) for name in types),
        "rope_pairs": "neighbours" if c["rotary_adjacent_pairs"] else "halves",
    }


def _rope(c: Config, *, local: bool) -> Rope:
    """The rotary embedding of the layers of one type, of which TransformerLens scales some and not
    others.
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
    return rope_of({"rope_parameters": settings, "max_position_embeddings": c["n_ctx"]}, dims)


def _scales(c: Config) -> tuple[float, ...]:
    """What TransformerLens divides scores by, as factors."""
    divisor = 1.0
    if c["use_attn_scale"]:
        divisor = math.sqrt(c["d_head"]) if c["attn_scale"] == -1 else c["attn_scale"]
    by_layer = c["scale_attn_by_inverse_layer_idx"]
    return tuple(1.0 / (divisor * (layer + 1 if by_layer else 1)) for layer in range(c["n_layers"]))


def _cap(cap: float | None) -> float | None:
    return cap if cap is not None and cap > 0 else None


def _windows(types: tuple[str, ...], window: int | None) -> tuple[int | None, ...]:
    return tuple(window if name == "local" else None for name in types) if "local" in types else ()


def _mlp(c: Config) -> dict[str, Any]:
    """What the spec says of MLPs. SoLU's norm has weights only where all norms have them."""
    if c["attn_only"]:
        return {"d_mlp": None}
    kind = "LN" if c["normalization_type"] == "LN" else "LNPre"
    return {
        "d_mlp": 4 * c["d_model"] if c["d_mlp"] is None else c["d_mlp"],
        "mlp_bias": True,
        "activation": "solu"
        if c["act_fn"] in ("solu", "solu_ln")
        else activation_named(c["act_fn"]),
        "gated": c["gated_mlp"],
        "hidden_norm": _norm(kind, c) if c["act_fn"] == "solu_ln" else None,
    }
