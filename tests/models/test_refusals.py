"""Checkpoints that cannot be used: one `ModelError` that names the thing and the remedy."""

from __future__ import annotations

import os
import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from circuitgraph.errors import ModelError
from circuitgraph.models.families import families
from circuitgraph.models.loading import load_model
from tests.checkpoints import Tiny
from tests.models.checkpoint_files import Tensors, copy_of, edit_config, edit_weights

WEIGHT = "transformer.h.1.mlp.c_fc.weight"


@pytest.fixture
def folder(tiny: Tiny, tmp_path: Path) -> Path:
    return copy_of(tiny.folder, tmp_path / "broken")


def refusal(name: str | Path) -> str:
    with pytest.raises(ModelError) as e:
        load_model(name)
    return str(e.value)


def drop_tensor(tensors: Tensors) -> Tensors:
    return {name: tensor for name, tensor in tensors.items() if name != WEIGHT}


def reshape_tensor(tensors: Tensors) -> Tensors:
    return tensors | {WEIGHT: tensors[WEIGHT].T}


def add_tensor(tensors: Tensors) -> Tensors:
    return tensors | {"transformer.h.1.attn.gate": torch.ones(3)}


def poison_tensor(value: float) -> Callable[[Tensors], Tensors]:
    def change(tensors: Tensors) -> Tensors:
        tensors[WEIGHT][3, 2] = value
        return tensors

    return change


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (drop_tensor, f"missing: {WEIGHT}"),
        (reshape_tensor, f"wrong shape: {WEIGHT} has [40, 24], but config.json asks for [24, 40]"),
        (add_tensor, "unexpected: transformer.h.1.attn.gate"),
        (poison_tensor(np.nan), f"not finite: {WEIGHT}"),
        (poison_tensor(-np.inf), f"not finite: {WEIGHT}"),
    ],
    ids=["missing", "shape", "extra", "nan", "infinite"],
)
def test_tensors_that_do_not_fit_are_named(
    folder: Path, change: Callable[[Tensors], Tensors], problem: str
) -> None:
    edit_weights(folder, change)
    title, *problems = refusal(folder).splitlines()
    assert (
        title
        == f"The weights of {str(folder)!r} are not what its config.json describes. Correct either:"
    )
    assert problems == [f"  - {problem}"]


def test_all_problems_of_the_weights_are_listed_at_once(folder: Path) -> None:
    edit_weights(
        folder,
        lambda tensors: add_tensor(drop_tensor(tensors)) | {"lm_head.weight": torch.ones(50, 23)},
    )
    """As far as the files' headers show them; numbers are read once names and shapes are right."""
    kinds = [line.split(":")[0] for line in refusal(folder).splitlines()[1:]]
    assert kinds == ["  - missing", "  - wrong shape", "  - unexpected"]


@pytest.mark.parametrize(
    ("field", "value", "tensor"),
    [
        ("n_positions", 12, "wpe"),
        ("vocab_size", 51, "lm_head"),
        ("n_inner", 39, "mlp.c_fc"),
        ("n_layer", 4, "h.3.ln_1"),
    ],
)
def test_sizes_that_the_weights_do_not_have(
    folder: Path, field: str, value: int, tensor: str
) -> None:
    edit_config(folder, **{field: value})
    assert re.search(rf"  - (wrong shape|missing): .*{re.escape(tensor)}", refusal(folder))


@pytest.mark.parametrize(
    "field", ["n_layer", "n_head", "n_embd", "n_inner", "n_positions", "vocab_size"]
)
@pytest.mark.parametrize("value", [0, -2])
def test_sizes_below_one(folder: Path, field: str, value: int) -> None:
    edit_config(folder, **{field: value})
    assert refusal(folder) == f"Sizes in config.json must be at least 1:\n  - {field} = {value}"


def test_heads_that_do_not_divide_the_width(folder: Path) -> None:
    edit_config(folder, n_head=5)
    assert refusal(folder) == "n_embd = 24 is not a multiple of n_head = 5."


@pytest.mark.parametrize(
    ("field", "value"),
    [("n_layer", "three"), ("n_embd", None), ("scale_attn_weights", "no"), ("n_head", 2.5)],
)
def test_settings_of_a_wrong_type_are_named(folder: Path, field: str, value: Any) -> None:
    edit_config(folder, **{field: value})
    message = refusal(folder)
    assert message.startswith(f"The config.json of {str(folder)!r} cannot be used: ")
    assert f"'{field}'" in message
    assert str(value) in message


@pytest.mark.parametrize("kept", [0, 5, 5000, -1])
def test_truncated_safetensors(folder: Path, kept: int) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:kept])
    message = refusal(folder)
    title = (
        f"The file model.safetensors of {str(folder)!r} is truncated or is no safetensors file: "
    )
    assert message.startswith(title)
    assert message.endswith(". Download or save the checkpoint again.")


@pytest.mark.parametrize("kept", [0, 100, 5000, -1])
def test_truncated_torch_checkpoints(folder: Path, kept: int) -> None:
    path = folder / "pytorch_model.bin"
    torch.save(load_file(folder / "model.safetensors"), path)
    (folder / "model.safetensors").unlink()
    path.write_bytes(path.read_bytes()[:kept])
    message = refusal(folder)
    assert str(folder) in message
    assert re.search(r"Download or save the checkpoint again\.$|Save them as safetensors", message)


class Bomb:
    """Runs a command when it is unpickled."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.trace),)


@pytest.mark.parametrize("zipped", [True, False])
def test_no_pickled_code_is_run(folder: Path, tmp_path: Path, zipped: bool) -> None:
    trace = tmp_path / "exploded"
    content = {**load_file(folder / "model.safetensors"), "bomb": Bomb(trace)}
    (folder / "model.safetensors").unlink()
    torch.save(content, folder / "pytorch_model.bin", _use_new_zipfile_serialization=zipped)
    message = refusal(folder)
    assert str(folder) in message
    assert "would run code when read" in message
    assert "Save them as safetensors" in message
    assert not trace.exists()
    pickle.loads(pickle.dumps(Bomb(trace)))  # noqa: S301 - the bomb is live
    assert trace.exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{garbage", "is not readable JSON: Expecting property name"),
        (b"", "is not readable JSON: Expecting value"),
        (b"\xff\xfe\x00", "is not readable JSON: 'utf-8' codec"),
        (b"[1, 2]", "has no 'model_type'"),
        (b"{}", "has no 'model_type'"),
        (
            b'{"model_type": "bert"}',
            "architecture 'bert', which is not supported: only an encoder,",
        ),
        (
            b'{"model_type": "clip"}',
            "architecture 'clip', which is not supported: images, sound or video;",
        ),
        (
            b'{"model_type": ["gpt2"]}',
            "architecture ['gpt2'], which is not supported, see docs/",
        ),
        (
            b'{"model_type": null}',
            "architecture None, which is not supported, see docs/",
        ),
    ],
    ids=repr,
)
def test_unusable_configurations(folder: Path, content: bytes, message: str) -> None:
    (folder / "config.json").write_bytes(content)
    text = refusal(folder)
    assert str(folder) in text
    assert message in text
    last = max(name for name in families.names() if name != "transformer_lens")
    assert text.endswith(("Download or save the checkpoint again.", f"{last}."))


def test_no_configuration(folder: Path) -> None:
    (folder / "config.json").unlink()
    message = refusal(folder)
    assert message.startswith(f"The folder {str(folder)!r} has no config.json")
    assert "Give a folder in Hugging Face layout" in message


def test_a_folder_that_has_a_shipped_models_name_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "induction-2l").mkdir()
    assert load_model("induction-2l").n_parameters > 0


def test_no_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    assert refusal(folder) == (
        f"The folder {str(folder)!r} has no weights. Expected one of model.safetensors, "
        "model.safetensors.index.json, pytorch_model.bin, pytorch_model.bin.index.json. It holds "
        "config.json, generation_config.json."
    )


def test_a_gguf_file_among_others_is_no_checkpoint(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "model-q4_k_m.gguf")
    assert "give its file: " in refusal(folder)
    assert "model-q4_k_m.gguf" in refusal(folder)
    assert "is no GGUF file" in refusal(folder / "model-q4_k_m.gguf")


def test_a_file_instead_of_a_folder(folder: Path) -> None:
    message = refusal(folder / "model.safetensors")
    assert message.startswith(
        f"{str(folder / 'model.safetensors')!r} is a file. Give the folder that holds it"
    )


@pytest.mark.parametrize("name", ["./nowhere", "/nowhere/at/all", "a/b/c", "~/nowhere-either"])
def test_a_folder_that_does_not_exist(name: str) -> None:
    assert refusal(name).startswith(
        f"There is no folder {name!r}. Give a folder in Hugging Face layout"
    )


@pytest.mark.parametrize("name", ["", "  "])
def test_an_empty_name(name: str) -> None:
    assert refusal(name).startswith(
        "The model's name is empty. Give a folder in Hugging Face layout"
    )


@pytest.mark.parametrize("name", ["~no-such-user/model", "x" * 300])
def test_names_that_the_file_system_refuses(name: str) -> None:
    assert refusal(name).startswith(f"{name!r} cannot be looked up: ")


@pytest.mark.parametrize("name", ["no-such-model", "nobody/no-such-model", "two words", "gpt2\n"])
def test_hub_names_that_cannot_be_fetched(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    message = refusal(name)
    assert message.startswith(f"Unknown model {name!r}. Known: ")
    assert "It is no folder here, and the hub did not provide it: " in message
    assert (
        ". Give a folder in Hugging Face layout, a GGUF file, a shipped model (circuitgraph list "
        "models) or a hub name" in message
    )


def test_nearly_the_name_of_a_shipped_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    assert "Did you mean 'induction-2l'" in refusal("inductoin-2l")
