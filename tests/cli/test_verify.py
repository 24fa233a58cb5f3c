"""``circuitgraph compile --verify``: the graph is the model, and where it is not."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import equinox as eqx
import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from circuitgraph.engine.masked.programs import run_writers
from circuitgraph.engine.values import Values
from circuitgraph.evaluation.parity import verify
from circuitgraph.models.constructed.named_programs import named_programs
from circuitgraph.models.loading import load_model
from circuitgraph.models.reference import Reference, Rounding, run_reference_twice
from tests.checkpoints import Tiny
from tests.cli.compiled import proof, record, rows
from tests.cli.conftest import Ran
from tests.models.checkpoint_files import copy_of, edit_weights
from tests.models.hooked import LouderModel, pretend_library
from tests.models.toys import random_weights, toy_config

LENS = Path(__file__).parents[1] / "models" / "lens"


def test_verify_holds(run: Callable[..., Ran], llama: Path) -> None:
    ran = run("compile", llama, "--verify", "--json", "--seed", 5)
    found, hf = proof(ran), AutoModelForCausalLM.from_pretrained(llama)
    tokens = np.random.default_rng(5).integers(0, 50, (4, 17))
    with torch.no_grad():
        logits = hf(torch.tensor(tokens)).logits
    assert (ran.code, found.held, found.argmax_agreement) == (0, True, 1.0)
    assert (found.seed, found.n_prompts, found.n_tokens, len(found.residual)) == (5, 4, 17, 3 + 1)
    assert found.largest_logit == pytest.approx(float(logits.abs().max()), rel=1e-5)
    assert 0 < (found.difference or 0) < 1e-4
    assert record(ran).weights_sha256 == load_model(llama).fingerprint
    assert proof(run("compile", llama, "--verify", "--json", "--length", 7)).n_tokens == 7


def test_verify_in_words(run: Callable[..., Ran]) -> None:
    ran = run("compile", "induction-2l", "--verify")
    assert (ran.code, ran.err) == (0, "")
    assert re.search(
        r"against transformers [\d.]+\S*, eager, 4 random prompts of 32 tokens", ran.out
    )
    assert rows(ran.out)["the graph is the model"] == "yes"


def test_verify_in_half_precision(run: Callable[..., Ran]) -> None:
    ran = run("compile", "induction-2l", "--verify", "--dtype", "bfloat16", "--json")
    found = proof(ran)
    assert (ran.code, found.held, found.precision, record(ran).precision) == (
        0,
        True,
        "bfloat16",
        "bfloat16",
    )
    assert 1e-4 < (found.relative or 0) <= 2e-2


# Both models in one process: it starts in more seconds than they take.
IN_DOUBLE = """
import sys
from circuitgraph.cli.main import main
for folder in sys.argv[1:]:
    sys.argv[1:] = ["compile", folder, "--dtype", "float64", "--verify", "--json"]
    try:
        main()
    except SystemExit as ended:
        print("\\0", ended.code, sep="", end="\\0")
"""


def test_verify_in_double_precision(tiny: Tiny, llama: Path) -> None:
    """In a process of its own, as jax decides once. transformers' Llama has norms, softmax and
    rotation in float32.
    """
    command = [sys.executable, "-c", IN_DOUBLE, str(tiny.folder), str(llama)]
    env = {key: value for key, value in os.environ.items() if key != "JAX_ENABLE_X64"}
    done = subprocess.run(command, capture_output=True, text=True, env=env)
    assert (done.returncode, done.stderr) == (0, "")
    of_gpt2, code_of_gpt2, of_llama, code_of_llama, _ = done.stdout.split("\0")
    for printed, code, most in ((of_gpt2, code_of_gpt2, 1e-9), (of_llama, code_of_llama, 1e-4)):
        found = proof(Ran(int(code), printed, ""))
        assert (code, found.precision, found.held) == ("0", "float64", True)
        assert found.difference is not None
        assert found.difference < most


@pytest.fixture
def another(monkeypatch: pytest.MonkeyPatch) -> None:
    """The reference has another logit in one place."""

    def moved(*args: Any, **kwargs: Any) -> tuple[Reference, Rounding]:
        found, rounding = run_reference_twice(*args, **kwargs)
        logits = found.logits.copy()
        logits[1, 2, 3] -= 0.5
        return found._replace(logits=logits), rounding

    monkeypatch.setattr("circuitgraph.evaluation.parity.run_reference_twice", moved)


@pytest.mark.usefixtures("another")
def test_a_graph_that_is_not_the_model(run: Callable[..., Ran], llama: Path) -> None:
    ran = run("compile", llama, "--verify")
    found = rows(ran.out)
    assert (ran.code, ran.err, found["the graph is the model"]) == (1, "", "NO")
    assert re.fullmatch(
        r"5\.00e-01 .* at prompt 1, position 2, token 3", found["largest difference of a logit"]
    )
    ran = run("compile", llama, "--verify", "--json")
    parity = proof(ran)
    assert (ran.code, parity.held, parity.prompt, parity.position, parity.token) == (
        1,
        False,
        1,
        2,
        3,
    )
    assert run("compile", llama, "--verify", "--quiet") == Ran(1, "", "")


def test_the_layer_that_is_not_the_model_is_named(llama: Path) -> None:
    model = load_model(llama)
    bias = model.transformer.blocks.attention.b_o
    assert bias is not None
    nudged = bias.at[1].add(0.01)
    network = eqx.tree_at(lambda m: m.blocks.attention.b_o, model.transformer, nudged)
    found = verify(replace(model, transformer=network), n_tokens=17)
    assert not found.held
    assert [error > 1e-5 for error in found.residual] == [False, False, True, True]


@pytest.fixture
def no_transformer_lens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformer_lens", None)


@pytest.mark.usefixtures("no_transformer_lens")
def test_a_state_dict_by_itself(run: Callable[..., Ran]) -> None:
    """Without transformer_lens the residual law is shown, and the report says that no more is."""
    weights = LENS / "rms_gated.safetensors"
    ran = run("compile", weights, "--verify")
    found = rows(ran.out)
    assert (ran.code, found["the graph is the model"]) == (0, "as far as shown")
    assert "against its own stream, 4 random prompts of 9 tokens" in ran.out
    assert found["shown"].startswith("embedding, writers and constants add up to the residual")
    assert "transformer_lens, which runs state dicts too, is not installed" in found["not shown"]
    assert "largest difference of a logit" not in found
    parity = proof(run("compile", weights, "--verify", "--json"))
    assert (parity.reference, parity.held, parity.difference) == ("none", True, None)
    assert len(parity.residual) == 2 + 1
    assert 0 < max(parity.residual) <= 1e-5


@pytest.mark.usefixtures("no_transformer_lens")
def test_a_state_dict_whose_writers_do_not_add_up(monkeypatch: pytest.MonkeyPatch) -> None:
    model = load_model(LENS / "rms_gated.safetensors")

    def run_less(*args: Any) -> Values:
        values = run_writers(*args)
        # the last head of the last layer
        return values._replace(nodes=values.nodes.at[-2].multiply(1.01))

    monkeypatch.setattr("circuitgraph.evaluation.parity.run_writers", run_less)
    parity = verify(model)
    assert not parity.held
    assert [error > 1e-5 for error in parity.residual] == [False, False, True]


@pytest.mark.usefixtures("no_transformer_lens")
def test_a_state_dict_in_half_precision() -> None:
    parity = verify(load_model(LENS / "layer_norm.safetensors", dtype="bfloat16"))
    assert parity.held
    assert 1e-5 < max(parity.residual) <= 2e-2


@pytest.mark.usefixtures("no_transformer_lens")
def test_a_constructed_model_has_the_residual_law_too() -> None:
    parity = verify(load_model(f"constructed:{next(iter(named_programs))}"), n_tokens=4)
    assert parity.held
    assert parity.not_proved == [
        "that the logits are those of other code: nobody else's code runs this model"
    ]


def test_a_state_dict_beside_hooked_transformer(run: Callable[..., Ran]) -> None:
    """With the library itself, where it is installed."""
    pytest.importorskip("transformer_lens")
    config = json.loads((LENS / "layer_norm.json").read_text())
    extra = {"attn_coeff": 0.3, "masked_token": 3}
    for settings in (config, config | extra, config | {"attention_dir": "bidirectional"} | extra):
        parity = verify(load_model(LENS / "layer_norm.safetensors", config=settings))
        assert parity.held
        assert parity.difference is not None
        assert parity.reference.startswith("transformer_lens")
    ran = run("compile", LENS / "rms_gated.safetensors", "--verify")
    assert (ran.code, rows(ran.out)["the graph is the model"]) == (0, "yes")


def test_a_state_dict_beside_a_pretended_hooked_transformer(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A stand-in for the library gets the turned weights, and our settings as hooks."""
    config = toy_config(attn_coeff=0.3, masked_token=4)
    torch.save(random_weights(config, mlp_bias=True), tmp_path / "toy.pt")
    model = load_model(tmp_path / "toy.pt", config=config)
    monkeypatch.setitem(sys.modules, "transformer_lens", pretend_library())
    parity = verify(model)
    assert parity.held
    assert parity.reference.startswith("transformer_lens")
    assert (parity.not_proved, parity.argmax_agreement) == ([], 1.0)
    monkeypatch.setitem(sys.modules, "transformer_lens", pretend_library(LouderModel))
    assert not verify(model).held


def test_numbers_beyond_the_precision(run: Callable[..., Ran], tiny: Tiny, tmp_path: Path) -> None:
    folder = copy_of(tiny.folder, tmp_path / "m")
    edit_weights(
        folder,
        lambda t: {name: 3e4 * w if "mlp.c_proj.weight" in name else w for name, w in t.items()},
    )
    ran = run("compile", folder, "--verify", "--dtype", "float16")
    assert (ran.code, ran.out) == (2, "")
    assert re.search(
        "in float16 our logits .* not finite. Choose .* bfloat16, float32 or float64", ran.err
    )
    assert run("compile", folder, "--verify", "--dtype", "float32").code == 0
