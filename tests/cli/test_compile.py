"""``circuitgraph compile``: what it says of a model."""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tokenizers
import torch
from safetensors.torch import load_file
from tokenizers.processors import TemplateProcessing
from transformers import AutoModelForCausalLM

from circuitgraph.errors import ModelError
from circuitgraph.models.loading import load_model, shipped_models
from circuitgraph.models.reference import run_reference
from tests.checkpoints import Tiny
from tests.cli.compiled import record, rows
from tests.cli.conftest import Ran
from tests.models.checkpoint_files import copy_of

LENS = Path(__file__).parents[1] / "models" / "lens"
L, H, KV = 3, 4, 2  # layers, heads and key-value heads of the llama


def n_edges(readers: int) -> int:
    """Edges of a sequential model with that many q, k and v readers in a layer, counted stream by
    stream.
    """
    attention = sum(readers * (1 + layer * (H + 1)) for layer in range(L))
    mlps = sum(1 + layer * (H + 1) + H for layer in range(L))
    return attention + mlps + 1 + L * (H + 1)


def n_parameters(folder: Path) -> int:
    return AutoModelForCausalLM.from_pretrained(folder).num_parameters()


def test_a_grouped_query_model_in_words(run: Callable[..., Ran], llama: Path) -> None:
    ran, n = run("compile", llama), n_parameters(llama)
    assert (ran.code, ran.err) == (0, "")
    found = rows(ran.out)
    assert re.fullmatch(
        r"16 prompts of 16 tokens need \d+\.\d MiB beside the weights, .*", found.pop("search")
    )
    assert found == {
        "model": f"{llama} (llama)",
        "layers": "3 of 4 heads (2 key-value) of size 8, MLP 40",
        "stream": "d_model 24, vocabulary 50, context 17",
        "with": "RMSNorm, grouped-query attention, 2 heads to a group, rotary positions, gelu MLP, "
        "gated MLP, tied unembedding",
        "parameters": f"{n:,}, float32, {4 * n / 2**20:.1f} MiB",
        "graph": f"{1 + L * (H + 1)} writers, {L * (3 * H + 1) + 1} readers, {n_edges(3 * H)} edges",  # noqa: E501
        "tokens": "no tokenizer: prompts cannot be written as text",
    }


def test_the_tokens_of_a_shipped_model(run: Callable[..., Ran]) -> None:
    """Words that it has, since a row of unknown tokens would show nothing."""
    found = rows(run("compile", "induction-2l").out)
    assert found["tokens"] == "'apple' 'arm' 'bag' 'ball' 'bank'; nothing is added; there is no BOS"
    assert found["layers"] == "2 of 8 heads of size 16, no MLPs"


def test_a_beginning_that_the_tokenizer_would_add(run: Callable[..., Ran], tmp_path: Path) -> None:
    folder = copy_of(shipped_models()["induction-2l"], tmp_path / "m")
    rules = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    rules.post_processor = TemplateProcessing(single="<pad> $A", special_tokens=[("<pad>", 0)])
    rules.save(str(folder / "tokenizer.json"))
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps(settings | {"bos_token": "<pad>"}))
    note = "nothing is added, although the tokenizer by itself would add '<pad>'; BOS is '<pad>'"
    assert (
        rows(run("compile", folder).out)["tokens"] == f"'apple' 'arm' 'bag' 'ball' 'bank'; {note}"
    )
    tokenizer = record(run("compile", folder, "--json")).tokenizer
    assert tokenizer is not None
    assert (tokenizer.n_tokens, tokenizer.bos, tokenizer.default_adds) == (98, "<pad>", ["<pad>"])
    assert len(tokenizer.example_tokens) == len(tokenizer.example.split())


def test_the_numbers_of_the_record(run: Callable[..., Ran], llama: Path, tiny: Tiny) -> None:
    found, few = (
        record(run("compile", llama, "--json", "--prompts", n, "--length", 9)) for n in (64, 2)
    )
    assert (found.family, found.precision, found.revision, found.weights_sha256) == (
        "llama",
        "float32",
        None,
        None,
    )
    assert (found.n_parameters, found.memory.bytes_weights) == (
        n_parameters(llama),
        4 * n_parameters(llama),
    )
    assert (found.sizes["n_kv_heads"], found.graph.n_edges, found.graph.n_kv_heads) == (
        KV,
        n_edges(3 * H),
        None,
    )
    assert (found.memory.n_prompts, found.memory.n_tokens, found.parity) == (64, 9, None)
    assert found.memory.bytes_needed > few.memory.bytes_needed > 0
    assert record(run("compile", tiny.folder, "--json")).n_parameters == n_parameters(tiny.folder)


def test_grouped_readers(run: Callable[..., Ran], llama: Path) -> None:
    graph = record(run("compile", llama, "--grouped", "--json")).graph
    readers = H + 2 * KV
    assert (graph.n_kv_heads, graph.n_readers, graph.n_edges) == (
        KV,
        L * (readers + 1) + 1,
        n_edges(readers),
    )


@pytest.mark.parametrize("verify", [(), ("--verify",)])
def test_prompts_beyond_the_context(run: Callable[..., Ran], verify: tuple[str, ...]) -> None:
    ran = run("compile", "induction-2l", "--length", 65, *verify)
    message = "Prompts of 65 tokens do not fit into the model's context of 64: choose fewer."
    assert ran == Ran(2, "", f"Error: {message}\n")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--length", 0), "--length is 0, but must be at least 1"),
        (("--prompts", 0), "--prompts is 0, but must be at least 1"),
        (("--seed", -1), "--seed is -1, but must be at least 0"),
        (("--dtype", "float23"), "Unknown dtype 'float23'. Did you mean 'float32'"),
        (
            ("--model-config", "x.json"),
            "'induction-2l' is no state dict: its name must end in one of .pt",
        ),
    ],
)
def test_bad_values(run: Callable[..., Ran], options: tuple[object, ...], message: str) -> None:
    ran = run("compile", "induction-2l", *options)
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.startswith(f"Error: {message}")


def test_a_transformer_lens_model(
    run: Callable[..., Ran], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights, config = tmp_path / "toy.pt", tmp_path / "toy.json"
    torch.save(load_file(LENS / "rms_gated.safetensors"), weights)
    given = record(run("compile", weights, "--model-config", LENS / "rms_gated.json", "--json"))
    assert run("compile", weights).code == 2
    shutil.copy(LENS / "rms_gated.json", config)
    assert record(run("compile", weights, "--json")) == given
    assert (given.name, given.family, given.tokenizer) == (str(weights), "transformer_lens", None)
    assert given.sizes["n_layers"] == json.loads(config.read_text())["n_layers"]
    monkeypatch.setitem(sys.modules, "transformer_lens", None)
    with pytest.raises(ModelError, match="transformer_lens could run, but that is not installed"):
        run_reference(load_model(weights), np.zeros((1, 1), int))


def test_quiet_and_help(run: Callable[..., Ran]) -> None:
    assert run("compile", "induction-2l", "--quiet", "--verify") == Ran(0, "", "")
    shown = run("compile", "--help").out
    for example in (
        "gpt2",
        "EleutherAI/pythia-160m --verify --length 128",
        "toy.pt --model-config toy.json --json",
    ):
        assert f"circuitgraph compile {example}" in shown


@pytest.mark.parametrize("flag", [(), ("--local-only",)])
def test_local_only(
    run: Callable[..., Ran], monkeypatch: pytest.MonkeyPatch, flag: tuple[str, ...]
) -> None:
    asked: list[tuple[bool, str]] = []

    def missing(*_: Any, local_files_only: bool, revision: str, **__: Any) -> None:
        asked.append((local_files_only, revision))
        raise OSError("not in the cache")

    monkeypatch.setattr("huggingface_hub.hf_hub_download", missing)
    ran = run("compile", "nobody/no-such-model", "--revision", "v2", *flag)
    assert (ran.code, ran.out, asked) == (2, "", [(bool(flag), "v2")])
    assert "the hub did not provide it at revision 'v2': not in the cache. Give a folder" in ran.err
