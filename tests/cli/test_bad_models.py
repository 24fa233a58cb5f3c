"""Checkpoints that cannot be used: the message names what is wrong, and nothing is written."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from circuitgraph.models.loading import shipped_models
from tests.checkpoints import Tiny
from tests.cli.conftest import Ran, files_below


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    """A copy of the shipped model, to be broken."""
    return Path(shutil.copytree(shipped_models()["induction-2l"], tmp_path / "broken"))


def refused(run: Callable[..., Ran], folder: Path, tmp_path: Path, *phrases: str) -> None:
    before = files_below(tmp_path)
    ran = run("discover", "induction", "--model", folder)
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.startswith("Error: ")
    assert [phrase for phrase in phrases if phrase not in ran.err] == [], ran.err
    assert files_below(tmp_path) == before


def change_config(folder: Path, **changes: Any) -> None:
    file = folder / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


@pytest.mark.parametrize("architecture", ["bert", "t5", "no-such-thing"])
def test_unsupported_architecture(
    run: Callable[..., Ran], broken: Path, tmp_path: Path, architecture: str
) -> None:
    change_config(broken, model_type=architecture)
    refused(
        run,
        broken,
        tmp_path,
        str(broken),
        repr(architecture),
        "not supported",
        "Supported: ",
        "gpt2",
    )


def test_model_without_a_tokenizer(run: Callable[..., Ran], tiny: Tiny, tmp_path: Path) -> None:
    refused(
        run, tiny.folder, tmp_path, str(tiny.folder), "has no tokenizer", "Add a tokenizer.json"
    )


@pytest.mark.parametrize("keep", [0, 4, 100, 5000])
def test_truncated_weights(
    run: Callable[..., Ran], broken: Path, tmp_path: Path, keep: int
) -> None:
    file = broken / "model.safetensors"
    file.write_bytes(file.read_bytes()[:keep])
    refused(run, broken, tmp_path, str(broken), "is truncated or is no safetensors file", "again")


def test_corrupt_weights(run: Callable[..., Ran], broken: Path, tmp_path: Path) -> None:
    file = broken / "model.safetensors"
    file.write_bytes(b"\x00garbage" * 1000)
    refused(run, broken, tmp_path, str(broken), "is truncated or is no safetensors file", "again")


def test_weights_of_another_size(run: Callable[..., Ran], broken: Path, tmp_path: Path) -> None:
    change_config(broken, n_positions=32)
    refused(run, broken, tmp_path, "transformer.wpe.weight", "64", "32")


def test_no_weights(run: Callable[..., Ran], broken: Path, tmp_path: Path) -> None:
    (broken / "model.safetensors").unlink()
    refused(run, broken, tmp_path, str(broken), "has no weights", "model.safetensors")


def test_no_configuration(run: Callable[..., Ran], broken: Path, tmp_path: Path) -> None:
    (broken / "config.json").unlink()
    refused(run, broken, tmp_path, str(broken), "has no config.json")


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"model_type": 5}'])
def test_broken_configuration(
    run: Callable[..., Ran], broken: Path, tmp_path: Path, content: str
) -> None:
    (broken / "config.json").write_text(content)
    refused(run, broken, tmp_path, str(broken))


def test_broken_tokenizer(run: Callable[..., Ran], broken: Path, tmp_path: Path) -> None:
    (broken / "tokenizer.json").write_text('{"version": "1.0"}')
    refused(run, broken, tmp_path, "tokenizer", str(broken), "cannot be read")


def test_context_shorter_than_the_prompts(run: Callable[..., Ran], tmp_path: Path) -> None:
    import torch
    from transformers import GPT2LMHeadModel

    source, folder = shipped_models()["induction-2l"], tmp_path / "short"
    model = GPT2LMHeadModel.from_pretrained(source)
    model.config.n_positions = 12
    model.transformer.wpe.weight = torch.nn.Parameter(model.transformer.wpe.weight[:12].clone())
    model.save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(source / name, folder)
    refused(run, folder, tmp_path, "A prompt has 16 tokens", "context is 12")


def test_file_in_place_of_a_folder(run: Callable[..., Ran], broken: Path, tmp_path: Path) -> None:
    refused(run, broken / "config.json", tmp_path, "is a file", "folder")
