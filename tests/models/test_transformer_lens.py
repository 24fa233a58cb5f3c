"""Checkpoints of TransformerLens: its own logits, or a refusal that names the setting or tensor."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from circuitgraph.errors import ModelError
from circuitgraph.models.families import families
from circuitgraph.models.language_model import LanguageModel
from circuitgraph.models.transformer_lens_checkpoint import load_transformer_lens
from tests.models.checkpoint_files import gate, run_ours

# Written by tools/reference/hooked_transformer.py, which says how.
FOLDER = Path(__file__).parent / "lens"
EXPECTED = load_file(FOLDER / "expected.safetensors")
NAMES = sorted(path.stem for path in FOLDER.glob("*.json"))

Tensors = dict[str, torch.Tensor]


def config_of(name: str, **changes: Any) -> dict[str, Any]:
    return json.loads((FOLDER / f"{name}.json").read_text()) | changes


def tensors_of(name: str) -> Tensors:
    return load_file(FOLDER / f"{name}.safetensors")


def save_content(path: Path, content: Any) -> Path:
    torch.save(content, path)
    return path


def run_model(model: LanguageModel, tokens: torch.Tensor) -> np.ndarray:
    return run_ours(model.transformer, tokens.numpy())


def refusal(weights: Path, config: Any = None) -> str:
    with pytest.raises(ModelError) as e:
        load_transformer_lens(weights, config)
    return str(e.value)


def refused_config(name: str, **changes: Any) -> str:
    return refusal(FOLDER / f"{name}.safetensors", config_of(name, **changes))


@pytest.mark.parametrize("name", NAMES)
def test_computes_what_transformer_lens_does(name: str) -> None:
    model = load_transformer_lens(FOLDER / f"{name}.safetensors")
    theirs = EXPECTED[f"{name}.logits"].numpy()
    ours = run_model(model, EXPECTED[f"{name}.tokens"])
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=gate(theirs))


def test_all_saved_logits_are_compared() -> None:
    assert {key.split(".")[0] for key in EXPECTED} == set(NAMES)
    assert len(NAMES) == 15


# Checkpoint -> fields that matter in it, each with another value than it has there.
OTHER: dict[str, dict[str, Any]] = {
    "layer_norm": {
        **{
            "act_fn": "silu",
            "attn_coeff": 0.5,
            "attn_only": True,
            "attn_scale": 2.5,
            "use_attn_scale": False,
            "clip_qkv": 2,
        },
        **{
            "scale_attn_by_inverse_layer_idx": True,
            "d_head": 3,
            "d_mlp": 7,
            "d_model": 6,
            "d_vocab": 7,
        },
        **{
            "d_vocab_out": 7,
            "eps": 0.2,
            "final_rms": True,
            "gated_mlp": True,
            "masked_token": 3,
            "n_ctx": 5,
        },
        **{"n_heads": 1, "n_key_value_heads": 1, "n_layers": 1, "normalization_type": "RMSPre"},
        **{"parallel_attn_mlp": True, "positional_embedding_type": "alibi"},
    },
    "rms_gated": {"attn_scores_soft_cap": 3, "output_logits_soft_cap": None, "use_qk_norm": False},
    "bidirectional": {"attention_dir": "causal"},
    "alibi": {"post_embedding_ln": False},
    "rotary_parallel": {"rotary_adjacent_pairs": False, "rotary_base": 100, "rotary_dim": 2},
    "local": {
        "attn_types": ["global", "local", "local"],
        "use_local_attn": False,
        "window_size": 2,
    },
    "two_norms": {
        **{
            "rotary_base_local": 11.5,
            "rotary_scaling_factor": 3.0,
            "use_normalization_before_and_after": False,
        },
    },
    "ntk_by_parts": {
        **{
            "NTK_by_parts_factor": 5.0,
            "NTK_by_parts_high_freq_factor": 3.0,
            "NTK_by_parts_low_freq_factor": 1.5,
        },
        **{"NTK_original_ctx_len": 50, "use_NTK_by_parts_rope": False},
    },
    "yarn": {
        **{
            "use_yarn_rope": False,
            "yarn_attention_factor": 1.5,
            "yarn_beta_fast": 1.5,
            "yarn_beta_slow": 0.2,
        },
        **{
            "yarn_factor": 2.0,
            "yarn_global_attn_only": False,
            "yarn_original_max_position_embeddings": 90,
        },
        **{"yarn_truncate": False},
    },
}


def test_every_handled_field_is_tried() -> None:
    tried = [field for fields in OTHER.values() for field in fields] + [
        "original_architecture"
    ]  # refused or nothing
    assert sorted(tried) == sorted(families["transformer_lens"].handled)


@pytest.mark.parametrize(
    ("name", "field"), [(name, field) for name, fields in OTHER.items() for field in fields]
)
def test_a_field_changes_the_spec(name: str, field: str) -> None:
    family = families["transformer_lens"]
    before, after = config_of(name), config_of(name, **{field: OTHER[name][field]})
    family.check(after)
    assert family.spec(after) != family.spec(before)


@pytest.mark.parametrize(
    ("name", "changes", "problem"),
    [
        (
            "layer_norm",
            {"positional_embedding_type": "shortformer"},
            "positional_embedding_type = 'shortformer'",
        ),
        ("layer_norm", {"normalization_type": "Batch"}, "normalization_type = 'Batch'"),
        ("layer_norm", {"attention_dir": "backward"}, "attention_dir = 'backward'"),
        ("layer_norm", {"act_fn": None}, "act_fn is missing"),
        ("layer_norm", {"act_fn": "xielu"}, "Activation 'xielu' is not implemented"),
        ("layer_norm", {"num_experts": 4}, "num_experts = 4"),
        ("layer_norm", {"load_in_4bit": True}, "load_in_4bit = True"),
        ("layer_norm", {"use_attention_sinks": True}, "use_attention_sinks = True"),
        ("layer_norm", {"use_dynamic_ntk_rope": True}, "use_dynamic_ntk_rope = True"),
        ("layer_norm", {"new_trick": 1}, "new_trick = 1; a field that"),
        ("layer_norm", {"n_layers": "2"}, "n_layers = '2'; it must be int"),
        ("layer_norm", {"d_model": None}, "d_model = None; it must be int"),
        ("layer_norm", {"attn_only": 1}, "attn_only = 1; it must be bool"),
        ("layer_norm", {"n_ctx": True}, "n_ctx = True; it must be int"),
        ("layer_norm", {"d_vocab": -1}, "d_vocab = -1"),
        ("layer_norm", {"d_vocab_out": 0}, "d_vocab_out = 0"),
        ("layer_norm", {"n_heads": -1, "d_head": 3}, "n_heads = -1"),
        (
            "layer_norm",
            {"n_heads": 4, "n_key_value_heads": 3},
            "not a multiple of n_key_value_heads = 3",
        ),
        ("layer_norm", {"masked_token": 11}, "masked_token = 11; the vocabulary has 11"),
        ("layer_norm", {"attn_scale": 0}, "attn_scale = 0"),
        ("layer_norm", {"use_local_attn": True}, "use_local_attn needs a window_size"),
        ("local", {"attn_types": ["local"]}, "attn_types = ['local']"),
        ("local", {"attn_types": ["local", "sparse"]}, "attn_types = ['local', 'sparse']"),
        (
            "layer_norm",
            {"original_architecture": "Olmo2ForCausalLM"},
            "original_architecture = 'Olmo2ForCausalLM'",
        ),
        ("attention_only", {"parallel_attn_mlp": True}, "attn_only with parallel_attn_mlp"),
        ("solu", {"gated_mlp": True}, "act_fn = 'solu_ln' with gated_mlp"),
        ("alibi", {"attention_dir": "bidirectional"}, "'alibi' with attention_dir"),
        (
            "layer_norm",
            {"post_embedding_ln": True},
            "post_embedding_ln with positional_embedding_type",
        ),
        ("rms_gated", {"clip_qkv": 1.0}, "clip_qkv with use_qk_norm"),
        (
            "layer_norm",
            {"use_normalization_before_and_after": True},
            "use_normalization_before_and_after with",
        ),
        ("rotary_parallel", {"rotary_dim": 8}, "rotary_dim = 8 is larger than d_head = 6"),
        ("rotary_parallel", {"rotary_dim": 3}, "3 of 3 dimensions"),
    ],
)
def test_a_setting_is_refused_by_name(name: str, changes: Mapping[str, Any], problem: str) -> None:
    assert problem in refused_config(name, **changes)


@pytest.mark.parametrize("field", ["n_layers", "d_model", "n_ctx", "d_head", "d_vocab"])
def test_a_missing_size_is_named(field: str) -> None:
    config = config_of("layer_norm")
    del config[field]
    assert f"{field} is missing" in refusal(FOLDER / "layer_norm.safetensors", config)


def test_defaults_are_transformer_lens_s(tmp_path: Path) -> None:
    sizes = {
        key: config_of("layer_norm")[key]
        for key in ("n_layers", "d_model", "n_ctx", "d_head", "d_vocab")
    }
    weights = save_content(tmp_path / "m.pt", tensors_of("layer_norm"))
    spec = load_transformer_lens(weights, sizes | {"act_fn": "relu"}).spec
    assert (spec.n_heads, spec.d_mlp, spec.d_vocab_out) == (2, 32, 11)
    assert spec.norm is not None
    assert (spec.norm.kind, spec.norm.eps, spec.attn_scales) == ("layer", 1e-5, (0.5, 0.5))
    assert spec.causal
    assert spec.learned_positions


def change_tensor(
    tensor: str, value: Callable[[torch.Tensor], torch.Tensor]
) -> Callable[[Tensors], Tensors]:
    return lambda tensors: tensors | {tensor: value(tensors[tensor])}


def drop_tensor(tensor: str) -> Callable[[Tensors], Tensors]:
    return lambda tensors: {key: value for key, value in tensors.items() if key != tensor}


def with_mask(mask: torch.Tensor) -> Callable[[Tensors], Tensors]:
    return lambda tensors: tensors | {"blocks.0.attn.mask": mask}


CAUSAL = torch.ones(9, 9, dtype=torch.bool).tril()


@pytest.mark.parametrize(
    ("name", "change", "problem"),
    [
        ("layer_norm", drop_tensor("blocks.1.attn.W_V"), "missing: blocks.1.attn.W_V"),
        ("rms_gated", drop_tensor("blocks.1.attn._W_V"), "missing: blocks.1.attn._W_V"),
        ("rms_gated", drop_tensor("blocks.0.mlp.b_in"), "missing: blocks.0.mlp.b_in"),
        (
            "layer_norm",
            change_tensor("blocks.1.attn.W_Q", lambda t: t.transpose(1, 2)),
            "blocks.1.attn.W_Q has [2, 4, 8]",
        ),
        (
            "rms_gated",
            change_tensor("blocks.0.mlp.b_in", lambda t: t[:3]),
            "blocks.0.mlp.b_in has [3]",
        ),
        (
            "rms_gated",
            lambda t: t | {"pos_embed.W_pos": torch.ones(9, 8)},
            "unexpected: pos_embed.W_pos",
        ),
        (
            "layer_norm",
            lambda t: t | {"blocks.0.attn.sinks": torch.ones(2)},
            "unexpected: blocks.0.attn.sinks",
        ),
        (
            "layer_norm",
            change_tensor("unembed.W_U", lambda t: t * torch.nan),
            "not finite: unembed.W_U",
        ),
        ("layer_norm", with_mask(CAUSAL.tril(-1)), "blocks.0.attn.mask"),
        ("local", with_mask(CAUSAL), "blocks.0.attn.mask"),
        ("layer_norm", with_mask(torch.ones(9, dtype=torch.bool)), "blocks.0.attn.mask"),
        (
            "layer_norm",
            change_tensor("blocks.1.attn.IGNORE", lambda t: torch.tensor(-3.0)),
            "blocks.1.attn.IGNORE",
        ),
        (
            "rms_gated",
            change_tensor("blocks.1.attn.rotary_cos", lambda t: t.roll(1, 0)),
            "blocks.1.attn.rotary_cos",
        ),
        (
            "rms_gated",
            change_tensor("blocks.1.attn.rotary_sin", lambda t: t[:, :4]),
            "blocks.1.attn.rotary_sin",
        ),
        ("two_norms", change_tensor("blocks.0.attn.b_O", lambda t: t + 1), "blocks.0.attn.b_O"),
    ],
)
def test_a_tensor_is_refused_by_name(
    name: str, change: Callable[[Tensors], Tensors], problem: str, tmp_path: Path
) -> None:
    assert problem in refusal(
        save_content(tmp_path / "m.pt", change(tensors_of(name))), config_of(name)
    )


@pytest.mark.parametrize(
    ("name", "mask"),
    [("layer_norm", CAUSAL), ("local", CAUSAL.triu(-2)), ("bidirectional", CAUSAL.tril(-1))],
)
def test_masks_that_earlier_versions_stored_are_accepted(
    name: str, mask: torch.Tensor, tmp_path: Path
) -> None:
    tensors = tensors_of(name) | {
        "blocks.0.attn.mask": mask,
        "blocks.0.attn.IGNORE": torch.tensor(-1e5),
    }
    model = load_transformer_lens(save_content(tmp_path / "m.pt", tensors), config_of(name))
    assert model.fingerprint == load_transformer_lens(FOLDER / f"{name}.safetensors").fingerprint


@pytest.mark.parametrize(
    ("suffix", "wrap"),
    [
        (".pt", lambda t: t),
        (".pth", lambda t: {"state_dict": t, "loss": torch.ones(())}),
        (".bin", lambda t: {"model": t, "epoch": 3}),
        (".pt", lambda t: {"state_dict": {f"model.{key}": value for key, value in t.items()}}),
    ],
)
def test_state_dicts_may_be_wrapped(
    suffix: str, wrap: Callable[[Tensors], Any], tmp_path: Path
) -> None:
    path = save_content(tmp_path / f"m{suffix}", wrap(tensors_of("rms_gated")))
    model = load_transformer_lens(path, config_of("rms_gated"))
    assert model.fingerprint == load_transformer_lens(FOLDER / "rms_gated.safetensors").fingerprint
    assert (model.name, model.family, model.revision, model.tokenizer) == (
        str(path),
        "transformer_lens",
        None,
        None,
    )


@pytest.mark.parametrize("file", ["m.json", "config.json", "cfg.json"])
def test_the_config_lies_beside_the_weights(file: str, tmp_path: Path) -> None:
    weights = save_content(tmp_path / "m.pt", tensors_of("layer_norm"))
    assert "no m.json or config.json or cfg.json" in refusal(weights)
    (tmp_path / file).write_text(json.dumps(config_of("layer_norm", eps=0.25)))
    model = load_transformer_lens(weights)
    assert model.spec.norm is not None
    assert model.spec.norm.eps == 0.25
    assert load_transformer_lens(weights, str(tmp_path / file)).spec == model.spec


def test_unusable_files_are_refused(tmp_path: Path) -> None:
    config, weights = tmp_path / "m.json", save_content(tmp_path / "m.pt", tensors_of("layer_norm"))
    config.write_text("[1]")
    assert "holds a list" in refusal(weights)
    config.write_text("{")
    assert "not readable JSON" in refusal(weights)
    assert "no gone.json" in refusal(weights, tmp_path / "gone.json")
    assert "There is no file" in refusal(tmp_path / "gone.pt")
    assert "must end in one of .pt" in refusal(tmp_path / "m.pkl")
    assert "not a state dict" in refusal(
        save_content(tmp_path / "list.pt", [1]), config_of("layer_norm")
    )


class Bomb:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def test_pickles_that_would_run_code_do_not(tmp_path: Path) -> None:
    path = save_content(tmp_path / "m.pt", {"embed.W_E": Bomb(tmp_path / "ran")})
    assert "would run code" in refusal(path, config_of("layer_norm"))
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("masked", [10, None])
def test_nobody_looks_at_a_masked_token(masked: int | None, tmp_path: Path) -> None:
    other = change_tensor("embed.W_E", lambda t: torch.cat([t[:10], t[10:].flip(1)]))(
        tensors_of("masked_bidirectional")
    )
    config = config_of("masked_bidirectional", masked_token=masked)
    tokens = EXPECTED["masked_bidirectional.tokens"]
    before = run_model(
        load_transformer_lens(FOLDER / "masked_bidirectional.safetensors", config), tokens
    )
    after = run_model(load_transformer_lens(save_content(tmp_path / "m.pt", other), config), tokens)
    moved = np.abs(after - before).max(-1) > 1e-4
    assert moved[tokens == 10].all()
    assert moved[tokens != 10].any() == (masked is None)


@pytest.mark.parametrize("direction", ["causal", "bidirectional"])
def test_later_tokens_are_seen_in_both_directions_only(direction: str) -> None:
    config = config_of("bidirectional", attention_dir=direction)
    model = load_transformer_lens(FOLDER / "bidirectional.safetensors", config)
    tokens = torch.tensor([[1, 2, 3, 4], [1, 2, 3, 5]])
    first, second = run_model(model, tokens)[:, 0]
    assert (np.abs(first - second).max() > 1e-3) == (direction == "bidirectional")


def test_a_model_in_lower_precision_computes_the_same_roughly() -> None:
    model = load_transformer_lens(FOLDER / "rms_gated.safetensors", dtype="bfloat16")
    assert model.dtype == "bfloat16"
    ours = run_model(model, EXPECTED["rms_gated.tokens"]).astype(np.float32)
    assert np.abs(ours - EXPECTED["rms_gated.logits"].numpy()).mean() < 0.05
