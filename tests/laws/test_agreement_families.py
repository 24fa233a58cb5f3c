"""Law 6 on families of other structure: grouped queries, parallel, post-norms, soft caps, ALiBi,
sinks, experts beside a shared MLP.

A family is here for a mechanism that no other one has, not for its name: each costs seconds. All
tests of a family have the same prompts and metric, so that they run the same programs.
"""

from __future__ import annotations

import pytest

from tests.checkpoints import Tiny, load_tiny, random_prompts
from tests.laws.agreement import ABLATIONS, assert_same_logits, compare
from tests.parity.cases import CASES
from tests.parity.harness import save_random

PROMPTS = random_prompts(longest=8)

FAMILIES = [
    "llama",
    "gpt_neox: parallel",
    "gemma2",
    "bloom: a power of two of heads",
    "olmo2",
    "granite",
    "gpt_oss",
    "qwen2_moe",
]


@pytest.fixture(scope="module", params=FAMILIES)
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    return load_tiny(
        save_random(
            tmp_path_factory.mktemp("m"), request.param.partition(":")[0], **CASES[request.param]
        )
    )


def test_they_differ_in_structure(model: Tiny) -> None:
    spec = model.ours.spec
    assert {
        "llama": spec.n_kv_heads < spec.n_heads,
        "gpt_neox": spec.parallel,
        "gemma2": spec.post_norm is not None
        and spec.attn_softcap is not None
        and any(spec.windows),
        "bloom": spec.alibi is not None,
        "olmo2": spec.post_norm is not None and spec.norm is None and spec.qk_norm_over == "width",
        "granite": spec.residual_scale != 1.0,
        "gpt_oss": spec.attn_sinks and spec.experts is not None and spec.gate_clip is not None,
        "qwen2_moe": spec.experts is not None and spec.experts.d_shared is not None,
    }[model.ours.family]


@pytest.mark.parametrize("ablation", ABLATIONS)
def test_random_circuits_have_the_oracles_logits(model: Tiny, ablation: str) -> None:
    assert_same_logits(model, PROMPTS, ablation)


def test_random_circuits_of_key_value_heads_have_the_oracles_logits(model: Tiny) -> None:
    assert_same_logits(model, PROMPTS, "resample", kv=True)


@pytest.mark.slow
@pytest.mark.parametrize("ablation", ["resample", "mean"])
def test_acdc_decides_as_the_oracle(model: Tiny, ablation: str) -> None:
    skip_what_is_inside_one_node(model)
    circuit = compare(model, PROMPTS, "logit", ablation)
    assert 0 < len(circuit) < circuit.graph.n_edges


@pytest.mark.slow
def test_acdc_over_key_value_heads_decides_as_the_oracle(model: Tiny) -> None:
    skip_what_is_inside_one_node(model)
    if model.ours.spec.n_kv_heads == model.ours.spec.n_heads:
        pytest.skip("no grouped heads")
    circuit = compare(model, PROMPTS, "logit", "resample", grouped=True)
    assert 0 < len(circuit) < circuit.graph.n_edges


def skip_what_is_inside_one_node(model: Tiny) -> None:
    """A search asks no more of a sink or of experts than the circuits above, at many seconds."""
    if model.ours.spec.experts is not None:
        pytest.skip("what is new in it is inside one node, whose output the other tests compare")
