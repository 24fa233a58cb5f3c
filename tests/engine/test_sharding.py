"""Weights that are cut over four devices give what one device gives, and no device has them all."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from circuitgraph.engine.memory import memory_limit
from circuitgraph.errors import ArgumentError
from circuitgraph.models.loading import load_model
from circuitgraph.models.parameters import Parameter, list_parameters
from circuitgraph.models.sharding import choose_cut
from tests.checkpoints import Tiny, random_prompts, save_tiny
from tests.engine.sharded_answers import Answers, answer

ROOT = Path(__file__).parents[2]
N = 4
THRESHOLDS = {"gpt2": 0.05, "llama": 0.3}
# relative to the largest: float32 sums in another order
CLOSE = 3e-6


def save_llama(folder: Path) -> None:
    """A random Llama with three heads, which four devices cannot share, of one key-value head."""
    config = LlamaConfig(
        vocab_size=50,
        hidden_size=24,
        intermediate_size=20,
        num_hidden_layers=2,
        num_attention_heads=3,
        num_key_value_heads=1,
        max_position_embeddings=16,
        initializer_range=0.3,
        bos_token_id=None,
        eos_token_id=None,
    )
    torch.manual_seed(0)
    LlamaForCausalLM(config).save_pretrained(folder)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both models, and what they answer on four devices."""
    folder = tmp_path_factory.mktemp("cut")
    save_tiny(folder / "gpt2", n_layer=2, n_head=2)
    save_llama(folder / "llama")
    for name, threshold in THRESHOLDS.items():
        (folder / name / "threshold").write_text(str(threshold))
    (folder / "prompts.pickle").write_bytes(pickle.dumps(random_prompts()))
    flags = f"--xla_force_host_platform_device_count={N} --xla_backend_optimization_level=0"
    run = subprocess.run(
        [sys.executable, "-W", "error", "-m", "tests.engine.sharded_answers", str(folder)],
        cwd=ROOT,
        env={
            **os.environ,
            "XLA_FLAGS": flags,
            "JAX_PLATFORMS": "cpu",
            # what is compiled to be looked at is run as well
            "JAX_COMPILATION_CACHE_DIR": str(folder / "programs"),
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    return folder


def read_run(folder: Path) -> tuple[Answers, dict[str, Any]]:
    with np.load(folder / "answers.npz") as held:
        return dict(held), json.loads((folder / "seen.json").read_text())


@pytest.mark.parametrize("name", THRESHOLDS)
def test_cut_weights_give_what_whole_ones_give(folder: Path, name: str) -> None:
    cut, seen = read_run(folder / name)
    model = load_model(folder / name)
    whole = answer(model, random_prompts(), THRESHOLDS[name])
    assert 0 < whole["mask"].sum() < whole["mask"].size
    np.testing.assert_array_equal(cut.pop("mask"), whole["mask"])
    for key, values in cut.items():
        close = CLOSE * np.nanmax(np.abs(whole[key]))
        np.testing.assert_allclose(values, whole[key], rtol=0, atol=close, err_msg=key)
    assert seen["fingerprint"] == model.fingerprint
    # nothing that is cut is ever brought together, neither weights nor the vectors kept
    programs = [what for what in seen if what.startswith("run_")]
    assert len(programs) == (3 if name == "gpt2" else 1)
    assert [seen[what] for what in programs] == [[]] * len(programs)
    total, largest, replicated = seen["weights"]
    assert total == sum(weight.nbytes for weight in _leaves(model))
    assert largest == replicated + (total - replicated) / N
    assert replicated < 0.1 * total


def _leaves(model: Any) -> list[Any]:
    import jax

    return jax.tree.leaves(model.transformer)


def test_matrices_are_cut_along_d_model_and_where_that_does_not_divide_elsewhere(
    tiny: Tiny,
) -> None:
    spec = tiny.ours.spec
    for parameter in list_parameters(spec):
        cut = choose_cut(parameter, N)
        at = [axis for axis, name in enumerate(cut) if name is not None]
        shape = (*parameter.leading, *parameter.shape)
        is_matrix = len(parameter.shape) > 1 and parameter.key.endswith("weight")
        assert [shape[axis] for axis in at] == ([spec.d_model] if is_matrix else [])
    odd = Parameter("mlp.in.weight", (3,), (40, 9))
    assert tuple(choose_cut(odd, N)) == (None, "weights")
    assert tuple(choose_cut(odd, 7)) == ()


def test_weights_leave_less_memory_on_an_accelerator(monkeypatch: pytest.MonkeyPatch) -> None:
    class Accelerator:
        platform = "gpu"

        def memory_stats(self) -> dict[str, int]:
            return {"bytes_limit": 1000}

    monkeypatch.setattr("jax.devices", lambda: [Accelerator()])
    assert [memory_limit(weights) for weights in (0, 200, 700, 2000)] == [600, 600, 200, 0]


def test_one_device_has_nothing_to_cut_weights_over() -> None:
    with pytest.raises(ArgumentError, match="shard is 4, but jax has one device here"):
        load_model("induction-2l", shard=4)
