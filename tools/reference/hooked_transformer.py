"""Make the checkpoints of tests/models/lens with TransformerLens, and what it computes with them.

    python -m venv lens && lens/bin/pip install transformer-lens==3.9.0
    lens/bin/python tools/reference/hooked_transformer.py            # write
    lens/bin/python tools/reference/hooked_transformer.py --check  # compare with the files

Run by hand. The files were written by version 3.9.0; 2.16.1 computes the same, where it has the
settings. Version 4 has no HookedTransformer any more.
"""

from __future__ import annotations

import json
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from transformer_lens import HookedTransformer, HookedTransformerConfig  # pyright: ignore[reportMissingImports]

FOLDER = Path(__file__).resolve().parents[2] / "tests" / "models" / "lens"
SIZES: dict[str, Any] = {
    "n_layers": 2,
    "d_model": 8,
    "n_ctx": 9,
    "n_heads": 2,
    "d_head": 4,
    "d_mlp": 12,
    "d_vocab": 11,
}
MASKED = 10

# What differs from SIZES and from TransformerLens's defaults. Together they visit every setting
# that we read.
VARIANTS: dict[str, dict[str, Any]] = {
    "attention_only": {
        "attn_only": True,
        "normalization_type": None,
        "n_heads": 3,
        "d_head": 2,
        "d_vocab_out": 5,
    },
    "layer_norm": {"act_fn": "relu", "attn_scale": 1.3, "eps": 0.1, "d_mlp": None},
    "folded": {"act_fn": "gelu", "scale_attn_by_inverse_layer_idx": True},
    "folded_solu": {"act_fn": "solu_ln", "final_rms": True, "eps": 0.01},
    "solu": {"act_fn": "solu_ln", "final_rms": True, "use_attn_scale": False},
    "rms_gated": {
        **{
            "normalization_type": "RMS",
            "act_fn": "silu",
            "gated_mlp": True,
            "n_heads": 4,
            "n_key_value_heads": 2,
        },
        **{
            "positional_embedding_type": "rotary",
            "rotary_base": 50,
            "use_qk_norm": True,
            "d_head": 6,
        },
        **{"attn_scores_soft_cap": 1.5, "output_logits_soft_cap": 2.0, "eps": 0.02},
    },
    "rotary_parallel": {
        **{
            "normalization_type": "RMSPre",
            "act_fn": "gelu_new",
            "parallel_attn_mlp": True,
            "clip_qkv": 1.0,
        },
        **{"positional_embedding_type": "rotary", "rotary_base": 20, "rotary_dim": 4, "d_head": 6},
        **{"rotary_adjacent_pairs": True},
    },
    "bidirectional": {"attention_dir": "bidirectional", "act_fn": "gelu_fast", "n_layers": 1},
    "masked": {"attn_only": True, "normalization_type": None},
    "masked_bidirectional": {
        "attention_dir": "bidirectional",
        "act_fn": "solu",
        "normalization_type": "LNPre",
    },
    "local": {
        **{
            "act_fn": "gelu_pytorch_tanh",
            "normalization_type": "LNPre",
            "use_local_attn": True,
            "window_size": 3,
        },
        **{"attn_types": ["local", "global"], "n_layers": 2},
    },
    "alibi": {
        "positional_embedding_type": "alibi",
        "n_heads": 3,
        "act_fn": "relu",
        "post_embedding_ln": True,
    },
    "two_norms": {
        **{
            "normalization_type": "RMS",
            "use_normalization_before_and_after": True,
            "act_fn": "gelu_pytorch_tanh",
        },
        **{"positional_embedding_type": "rotary", "rotary_base": 500, "rotary_base_local": 10},
        **{
            "rotary_scaling_factor": 2.0,
            "use_local_attn": True,
            "window_size": 4,
            "attn_types": ["local", "global"],
        },
    },
    "ntk_by_parts": {
        **{
            "attn_only": True,
            "positional_embedding_type": "rotary",
            "rotary_base": 10,
            "use_NTK_by_parts_rope": True,
        },
        **{"NTK_original_ctx_len": 40, "NTK_by_parts_factor": 4.0, "d_head": 8, "n_layers": 1},
    },
    "yarn": {
        **{
            "attn_only": True,
            "positional_embedding_type": "rotary",
            "rotary_base": 10,
            "use_yarn_rope": True,
        },
        **{
            "yarn_factor": 4.0,
            "yarn_attention_factor": 1.2,
            "yarn_original_max_position_embeddings": 30,
        },
        **{"yarn_beta_fast": 2.0, "yarn_beta_slow": 0.5, "d_head": 8},
        **{
            "yarn_global_attn_only": True,
            "use_local_attn": True,
            "window_size": 5,
            "attn_types": ["global", "local"],
        },
    },
}


def draw_tokens(name: str, d_vocab: int) -> torch.Tensor:
    """Random prompts; a masked token is the last of the vocabulary, and never comes first."""
    tokens = torch.randint(d_vocab - 1, (3, 8), generator=torch.Generator().manual_seed(1))
    if name.startswith("masked"):
        for row, position in ((0, 3), (0, 7), (1, 1), (1, 2), (2, 5)):
            tokens[row, position] = MASKED
    return tokens


def run_masked(model: Any, tokens: torch.Tensor, masked: int | None) -> torch.Tensor:
    def hide_masked(scores: torch.Tensor, hook: Any) -> torch.Tensor:
        del hook
        return scores.masked_fill((tokens == masked)[:, None, None, :], -torch.inf)

    hooks = [(f"blocks.{i}.attn.hook_attn_scores", hide_masked) for i in range(model.cfg.n_layers)]
    with torch.no_grad():
        return model.run_with_hooks(
            tokens, return_type="logits", fwd_hooks=hooks if masked is not None else []
        )


def make_model(name: str) -> Any:
    """A model without a parameter of zero or one, but for the bias that no trained norm has."""
    torch.manual_seed(sorted(VARIANTS).index(name))
    model = HookedTransformer(
        HookedTransformerConfig(**{**SIZES, "device": "cpu", **VARIANTS[name]})
    )
    for key, parameter in model.named_parameters():
        vector = key.rsplit(".", 1)[1] in ("w", "b") or ".b_" in key
        parameter.data = 0.5 * torch.randn_like(parameter) + (1.0 if key.endswith(".w") else 0.0)
        if not vector:
            parameter.data *= 1.4
        if key.endswith("b_O") and model.cfg.use_normalization_before_and_after:
            parameter.data.zero_()
    if name.startswith("folded"):
        model.process_weights_(fold_ln=True, center_writing_weights=False, center_unembed=False)
    return model


def write_checkpoint(name: str) -> None:
    model = make_model(name)
    masked = {"masked_token": MASKED} if name.startswith("masked") else {}
    save_tensors(model.state_dict(), FOLDER / f"{name}.safetensors")
    settings = json.dumps({**model.cfg.to_dict(), **masked}, indent=1, sort_keys=True, default=str)
    (FOLDER / f"{name}.json").write_text(settings + "\n")


def save_tensors(tensors: dict[str, torch.Tensor], path: Path) -> None:
    save_file({key: value.contiguous().clone() for key, value in tensors.items()}, path)
    path.chmod(0o644)


def run_checkpoint(name: str) -> dict[str, torch.Tensor]:
    """What the model in the files computes.

    The model in memory is not used, because folding gives it norms that differ from its
    configuration's where ``final_rms`` is set.
    """
    settings = json.loads((FOLDER / f"{name}.json").read_text())
    known = {field.name for field in fields(HookedTransformerConfig)}
    options = {key: value for key, value in settings.items() if key in known}
    model = HookedTransformer(HookedTransformerConfig(**{**options, "dtype": torch.float32}))
    buffers = {key: value for key, value in model.state_dict().items() if key.endswith("attn.mask")}
    model.load_state_dict(
        {**load_file(FOLDER / f"{name}.safetensors"), **buffers}
    )  # 3 stores masks without content
    tokens = draw_tokens(name, model.cfg.d_vocab)
    return {
        f"{name}.tokens": tokens,
        f"{name}.logits": run_masked(model, tokens, settings.get("masked_token")),
    }


def check_version() -> None:
    expected = load_file(FOLDER / "expected.safetensors")
    known = {field.name for field in fields(HookedTransformerConfig)}
    for name, settings in VARIANTS.items():
        if unknown := sorted(set(settings) - known):
            print(f"{name:24} this version has no {', '.join(unknown)}")
            continue
        difference = run_checkpoint(name)[f"{name}.logits"] - expected[f"{name}.logits"]
        print(f"{name:24} {difference.abs().max().item():.1e}")


def main() -> None:
    if sys.argv[1:] == ["--check"]:
        check_version()
        return
    FOLDER.mkdir(exist_ok=True)
    expected: dict[str, torch.Tensor] = {}
    for name in VARIANTS:
        write_checkpoint(name)
        expected |= run_checkpoint(name)
    save_tensors(expected, FOLDER / "expected.safetensors")


if __name__ == "__main__":
    main()
