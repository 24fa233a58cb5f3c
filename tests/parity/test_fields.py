"""Every config field of every family: reproduced, refused, or named as changing nothing."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from transformers import CONFIG_MAPPING, AutoConfig

from circuitgraph.errors import ModelError
from circuitgraph.models.families import COMMON_IRRELEVANT, COMMON_REQUIRED, families
from circuitgraph.models.families.llama import Llama
from circuitgraph.models.families.unsupported import UNSUPPORTED
from circuitgraph.models.loading import load_model
from circuitgraph.models.reference import run_reference
from tests.parity.cases import CASES
from tests.parity.harness import gate, random_tokens, run_ours, save_random

HUGGING_FACE = [name for name in families.names() if name != "transformer_lens"]
LEGACY = {
    "rope_scaling",
    "rope_theta",
    "partial_rotary_factor",
    "rotary_pct",
    "rotary_emb_base",
}  # spellings of before


# Families that have Llama's own spec, which is tested under its own name.
LLAMA_AGAIN = {"exaone", "internlm3", "iquestcoder"}


def defaults(model_type: str) -> dict[str, Any]:
    return AutoConfig.for_model(model_type).to_dict()


def config_of_case(name: str) -> dict[str, Any]:
    """The whole configuration of a case."""
    return AutoConfig.for_model(name.partition(":")[0], **CASES[name]).to_dict()


def test_every_family_has_a_case() -> None:
    assert {name.partition(":")[0] for name in CASES} == set(HUGGING_FACE)


@pytest.mark.parametrize("model_type", HUGGING_FACE)
def test_every_default_field_is_known(model_type: str) -> None:
    family = families[model_type]
    known = (
        family.handled
        | family.irrelevant
        | set(family.required)
        | COMMON_IRRELEVANT
        | set(COMMON_REQUIRED)
    )
    assert not set(defaults(model_type)) - known
    assert not family.handled & (family.irrelevant | set(family.required))


@pytest.mark.parametrize("model_type", HUGGING_FACE)
def test_the_cases_of_a_family_move_every_handled_field(model_type: str) -> None:
    default = defaults(model_type)
    cases = [config_of_case(name) for name in CASES if name.partition(":")[0] == model_type]
    still = {
        f
        for f in default
        if f in families[model_type].handled and all(c.get(f) == default[f] for c in cases)
    }
    assert not still


@pytest.mark.parametrize("model_type", HUGGING_FACE)
def test_unknown_fields_are_refused_by_name_and_file(model_type: str) -> None:
    config = defaults(model_type) | {"brand_new_gate": 0.5}
    with pytest.raises(
        ModelError,
        match=rf"brand_new_gate = 0.5; a field that .*families\.{model_type} does not know",
    ):
        families[model_type].check(config)


@pytest.mark.parametrize("model_type", HUGGING_FACE)
def test_required_fields_are_refused_at_other_values(model_type: str) -> None:
    family = families[model_type]
    for field, value in {**COMMON_REQUIRED, **family.required}.items():
        other = (not value) if isinstance(value, bool) else "something else"
        with pytest.raises(ModelError, match=rf"{field} = {other!r}; only"):
            family.check(defaults(model_type) | {field: other})


def test_unsupported_architectures_are_transformers_own_and_none_is_supported() -> None:
    assert not set(UNSUPPORTED) & set(families.names())
    assert not set(UNSUPPORTED) - set(CONFIG_MAPPING)


@pytest.mark.parametrize(
    ("model_type", "reason"),
    [
        ("falcon_h1", "not supported: state-space or recurrent layers"),
        ("deepseek_v3", "not supported: latent attention"),
        ("bert", "not supported: only an encoder"),
        ("brand_new", "not supported, see docs/adding-a-family.md"),
    ],
)
def test_unsupported_architectures_are_refused_with_the_reason(
    tmp_path: Path, model_type: str, reason: str
) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": model_type}))
    (tmp_path / "model.safetensors").touch()
    with pytest.raises(ModelError, match=rf"{reason}.*\. Supported: arcee, "):
        load_model(tmp_path)


def test_experts_in_mxfp4_are_refused_with_the_way_out() -> None:
    rounded = {"quantization_config": {"quant_method": "mxfp4"}}
    with pytest.raises(ModelError, match=r"MXFP4.*dequantize=True.*save_pretrained"):
        families["gpt_oss"].check(defaults("gpt_oss") | rounded)


def moved_before(name: str, field: str, default: Any) -> bool:
    """Whether an earlier case of the same family has the field away from its default already."""
    family, *_ = name.partition(":")
    earlier = itertools.takewhile(lambda other: other != name, CASES)
    return any(
        config_of_case(other).get(field) != default
        for other in earlier
        if other.partition(":")[0] == family
    )


def test_families_that_are_llama_again() -> None:
    theirs = {name for name in HUGGING_FACE if type(families[name]).spec is Llama.spec}
    assert theirs == {"llama", *LLAMA_AGAIN}


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in CASES if name not in LLAMA_AGAIN])
def test_fields_put_back_to_their_defaults_one_by_one(name: str, tmp_path: Path) -> None:
    """A field that we read wrongly, or not at all, would part us from transformers.

    Changes of shapes are refused.
    """
    model_type = name.partition(":")[0]
    folder = save_random(tmp_path / "m", model_type, **CASES[name])
    path = folder / "config.json"
    written, default = json.loads(path.read_text()), defaults(model_type)
    for field in sorted(families[model_type].handled & set(written) & set(default)):
        if written[field] == default[field] or moved_before(name, field, default[field]):
            continue
        path.write_text(json.dumps(written | {field: default[field]}))
        try:
            model = load_model(folder)
        except ModelError:
            continue
        tokens = random_tokens(model.spec.d_vocab)
        theirs = run_reference(model, tokens).logits
        # Some seconds once, then far less than a program for each setting; experts are a loop.
        with jax.disable_jit(model.spec.experts is None):
            ours = run_ours(model, tokens)
        assert np.abs(ours - theirs).max() <= gate(theirs), field
