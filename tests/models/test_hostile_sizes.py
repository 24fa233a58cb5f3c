"""Checkpoints that promise more than they hold are refused before anything is made of them."""

from __future__ import annotations

import json
import shutil
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from circuitgraph.errors import ModelError
from circuitgraph.models.checkpoint import open_checkpoint
from circuitgraph.models.loading import load_model

MODEL = Path(__file__).parents[2] / "catalog" / "models" / "induction-2l"


@contextmanager
def refusal(phrase: str) -> Iterator[None]:
    start = time.perf_counter()
    with pytest.raises(ModelError, match=phrase):
        yield
    assert time.perf_counter() - start < 5


@pytest.mark.parametrize(
    ("field", "number"),
    [
        ("n_layer", "1000000000"),
        ("n_head", "1" + "0" * 30),
        ("n_embd", "100000000"),
        ("num_labels", "1000000000"),
        ("vocab_size", "1e12"),
    ],
)
def test_numbers_that_no_model_has_are_refused(tmp_path: Path, field: str, number: str) -> None:
    shutil.copytree(MODEL, tmp_path / "m")
    file = tmp_path / "m" / "config.json"
    config = json.loads(file.read_text()) | {field: "@"}
    file.write_text(json.dumps(config).replace('"@"', number))
    with refusal(f"{field} = .* no model has more than"):
        load_model(tmp_path / "m")


def test_layers_beyond_the_tensors_are_refused_before_they_are_listed(tmp_path: Path) -> None:
    shutil.copytree(MODEL, tmp_path / "m")
    file = tmp_path / "m" / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"n_layer": 60_000}))
    with refusal("its numbers of layers, heads or experts are not theirs"):
        load_model(tmp_path / "m")


def test_a_packed_archive_is_refused(tmp_path: Path) -> None:
    plain, packed = tmp_path / "plain.pt", tmp_path / "packed.pt"
    torch.save({"a": torch.zeros(100_000)}, plain)
    assert open_checkpoint("m", [plain]).shapes == {"a": (100_000,)}
    with zipfile.ZipFile(plain) as source, zipfile.ZipFile(packed, "w") as target:
        for member in source.namelist():
            target.writestr(member, source.read(member), zipfile.ZIP_DEFLATED)
    with refusal("packed archive"):
        open_checkpoint("m", [packed])


def test_a_tensor_of_one_number_is_no_large_tensor(tmp_path: Path) -> None:
    file = tmp_path / "x.pt"
    torch.save({"a": torch.zeros(1).expand(10**12)}, file)
    with refusal(r"a has the shape \[1000000000000\], but 4 bytes"):
        open_checkpoint("m", [file])


def test_a_state_dict_that_holds_itself_is_refused(tmp_path: Path) -> None:
    content: dict = {}
    content["model"] = content
    torch.save(content, tmp_path / "x.pt")
    with refusal("holds no tensors"):
        open_checkpoint("m", [tmp_path / "x.pt"])


@pytest.mark.parametrize("sizes", [{"n_layers": 50_000}, {"d_mlp": 10**7, "attn_only": False}])
def test_a_configuration_beyond_its_state_dict_is_refused(
    tmp_path: Path, sizes: dict[str, int]
) -> None:
    torch.save({"embed.W_E": torch.zeros(6, 8)}, tmp_path / "x.pt")
    config = {"n_layers": 1, "d_model": 8, "n_ctx": 8, "d_head": 4, "n_heads": 2, "d_vocab": 6}
    config |= {"attn_only": True, "act_fn": "relu", "normalization_type": None} | sizes
    (tmp_path / "x.json").write_text(json.dumps(config))
    with refusal("is not that of its weights"):
        load_model(tmp_path / "x.pt")
