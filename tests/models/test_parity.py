"""Law 2, field by field: a setting is reproduced, changes nothing, or is refused by name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from transformers import GPT2Config
from transformers.activations import ACT2FN

from circuitgraph.errors import ModelError
from circuitgraph.models.families import families
from circuitgraph.models.loading import load_model
from tests.models.checkpoint_files import agrees, copy_of, edit_config, write
from tests.parity.harness import gate

# One value away from the default for every field that transformers writes.
CHANGED: dict[str, Any] = {
    "_name_or_path": "somewhere/else",
    "activation_function": "relu",
    "add_cross_attention": True,
    "architectures": ["GPT2Model"],
    "attn_pdrop": 0.9,
    "bos_token_id": 3,
    "chunk_size_feed_forward": 3,
    "dtype": "float16",
    "embd_pdrop": 0.9,
    "eos_token_id": 4,
    "id2label": {"0": "a", "1": "b", "2": "c"},
    "initializer_range": 3.0,
    "is_encoder_decoder": True,
    "label2id": {"a": 0, "b": 1, "c": 2},
    "layer_norm_epsilon": 0.3,
    "model_type": "bert",
    "n_embd": 12,
    "n_head": 4,
    "n_inner": 20,
    "n_layer": 3,
    "n_positions": 9,
    "output_attentions": True,
    "output_hidden_states": True,
    "pad_token_id": 5,
    "problem_type": "regression",
    "reorder_and_upcast_attn": True,
    "resid_pdrop": 0.9,
    "return_dict": False,
    "scale_attn_by_inverse_layer_idx": True,
    "scale_attn_weights": False,
    "summary_activation": "tanh",
    "summary_first_dropout": 0.9,
    "summary_proj_to_labels": False,
    "summary_type": "mean",
    "summary_use_proj": False,
    "tie_word_embeddings": False,
    "transformers_version": "4.0.0",
    "use_cache": False,
    "vocab_size": 13,
}
REFUSED = {"add_cross_attention", "is_encoder_decoder", "model_type"}
MATTERS = {
    *(
        "activation_function",
        "layer_norm_epsilon",
        "n_embd",
        "n_head",
        "n_inner",
        "n_layer",
        "tie_word_embeddings",
    ),
    *("scale_attn_by_inverse_layer_idx", "scale_attn_weights"),
}
SHAPES = {"n_embd", "n_inner", "n_layer", "n_positions", "tie_word_embeddings", "vocab_size"}


def test_every_field_that_transformers_writes_is_in_the_table() -> None:
    default = GPT2Config().to_dict()
    assert set(CHANGED) == set(default)
    assert not [name for name, value in CHANGED.items() if default[name] == value]


@pytest.mark.parametrize("field", sorted(CHANGED))
def test_no_field_is_silently_wrong(base: Path, tmp_path: Path, field: str) -> None:
    value = CHANGED[field]
    folder = (
        write(tmp_path / "m", **{field: value})
        if field in SHAPES
        else copy_of(base, tmp_path / "m")
    )
    edit_config(folder, **{field: value})
    if field in REFUSED:
        with pytest.raises(ModelError) as e:
            load_model(folder)
        assert (field if field != "model_type" else "'bert', which is not supported") in str(
            e.value
        )
        assert field == "model_type" or f"{value!r}; only {not value!r} is implemented" in str(
            e.value
        )
        return
    logits = agrees(folder)
    if field in MATTERS:
        assert logits.shape != (4, 7, 11) or np.abs(logits - agrees(base)).max() > 100 * gate(
            logits
        ), "nothing tested"


@pytest.mark.parametrize("name", sorted(ACT2FN))
def test_every_activation_agrees_or_is_refused(base: Path, tmp_path: Path, name: str) -> None:
    folder = copy_of(base, tmp_path / "m")
    edit_config(folder, activation_function=name)
    try:
        load_model(folder)
    except ModelError as error:
        assert f"Activation {name!r} is not implemented. Known: gelu, " in str(error)  # noqa: PT017
        assert f" {name}," not in str(error).partition("Known:")[2]  # noqa: PT017
        assert name not in {
            "gelu",
            "gelu_new",
            "gelu_fast",
            "quick_gelu",
            "relu",
            "silu",
            "swish",
            "tanh",
        }
        return
    agrees(folder)


def test_the_two_gelus_are_told_apart(base: Path, tmp_path: Path) -> None:
    folder = copy_of(base, tmp_path / "m")
    edit_config(folder, activation_function="gelu")
    exact, tanh_form = agrees(folder), agrees(base)
    assert np.abs(exact - tanh_form).max() > 3 * gate(exact)


@pytest.mark.parametrize("upcast", [False, True])
@pytest.mark.parametrize("inverse", [False, True])
@pytest.mark.parametrize("scaled", [False, True])
def test_scaling_flags_in_every_combination(
    base: Path, tmp_path: Path, scaled: bool, inverse: bool, upcast: bool
) -> None:
    folder = copy_of(base, tmp_path / "m")
    edit_config(folder, scale_attn_weights=scaled)
    edit_config(folder, scale_attn_by_inverse_layer_idx=inverse, reorder_and_upcast_attn=upcast)
    agrees(folder)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("n_ctx", 5),  # shorter than n_positions, which decides
        ("n_special", 0),
        ("predict_special_tokens", True),
        ("output_past", True),
        ("_num_labels", 1),
        ("num_labels", 3),
        ("pruned_heads", {}),
        ("torchscript", False),
        ("use_bfloat16", False),
        ("tf_legacy_loss", False),
        ("is_decoder", True),
        ("tie_encoder_decoder", False),
        ("cross_attention_hidden_size", None),
        ("finetuning_task", "chat"),
        ("task_specific_params", {"text-generation": {"do_sample": True, "max_length": 50}}),
        ("torch_dtype", "bfloat16"),
        ("gradient_checkpointing", False),
        ("do_sample", True),
        ("max_length", 50),
        ("tokenizer_class", "BertTokenizer"),
    ],
)
def test_fields_of_old_checkpoints_that_change_nothing_load(
    base: Path, tmp_path: Path, field: str, value: Any
) -> None:
    folder = copy_of(base, tmp_path / "m")
    edit_config(folder, **{field: value})
    agrees(folder)
    assert load_model(folder).fingerprint == load_model(base).fingerprint


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("sliding_window", 4),
        ("attn_logit_softcapping", 50.0),
        ("pruned_heads", {"0": [1]}),
        ("quantization_config", {"quant_method": "bitsandbytes", "load_in_8bit": True}),
        ("rope_parameters", {"rope_type": "linear", "factor": 2.0}),
        ("tie_encoder_decoder", True),
    ],
)
def test_unknown_fields_are_refused_with_name_and_value(
    base: Path, tmp_path: Path, field: str, value: Any
) -> None:
    folder = copy_of(base, tmp_path / "m")
    edit_config(folder, **{field: value, "another_field": 17})
    with pytest.raises(ModelError) as e:
        load_model(folder)
    lines = str(e.value).splitlines()
    assert "--ignore-config-field NAME" in lines[0]
    assert any(line.startswith(f"  - {field} = {str(value)[:15]}") for line in lines)
    assert any(line.startswith("  - another_field = 17; a field that") for line in lines), (
        "all problems at once"
    )


def test_a_field_is_only_in_one_of_the_lists() -> None:
    family = families["gpt2"]
    assert not family.handled & family.irrelevant
    assert not set(family.required) & (family.handled | family.irrelevant)


def test_config_files_of_the_shipped_kind_hold_no_unknown_field(base: Path) -> None:
    """What save_pretrained writes today is accepted as it is."""
    families["gpt2"].check(json.loads((base / "config.json").read_text()))
