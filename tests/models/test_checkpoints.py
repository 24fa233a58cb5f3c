"""Forms in which one model can lie on disk: all load to the same thing, quietly."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import huggingface_hub.constants
import huggingface_hub.utils as hub
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers.utils import logging

from circuitgraph.errors import ModelError
from circuitgraph.models.loading import load_model, shipped_models
from tests.checkpoints import Tiny
from tests.models.checkpoint_files import Tensors, copy_of, edit_config, edit_weights
from tests.parity.harness import save_random


def without_prefix(tensors: Tensors) -> Tensors:
    return {name.removeprefix("transformer."): tensor for name, tensor in tensors.items()}


def with_old_buffers(tensors: Tensors) -> Tensors:
    """What every attention layer of transformers 2 to 4 saved beside its weights."""
    for layer in range(3):
        tensors[f"transformer.h.{layer}.attn.bias"] = torch.ones(13, 13).tril().bool()[None, None]
        tensors[f"transformer.h.{layer}.attn.masked_bias"] = torch.tensor(-1e4)
    return tensors


def test_old_names_and_buffers(tiny: Tiny, tmp_path: Path) -> None:
    folder = copy_of(tiny.folder, tmp_path / "m")
    for change in (without_prefix, lambda tensors: with_old_buffers(tensors) | tensors):
        edit_weights(folder, change)
        assert load_model(folder).fingerprint == tiny.ours.fingerprint
    edit_weights(folder, without_prefix)  # buffers too
    assert "h.0.attn.masked_bias" in load_file(folder / "model.safetensors")
    assert load_model(folder).fingerprint == tiny.ours.fingerprint


@pytest.mark.parametrize("wrapper", ["_orig_mod.", "module.", "module._orig_mod."])
def test_names_of_wrappers(tiny: Tiny, tmp_path: Path, wrapper: str) -> None:
    """As torch.compile, DataParallel and the like leave them."""
    folder = copy_of(tiny.folder, tmp_path / "m")
    edit_weights(folder, lambda tensors: {f"{wrapper}{name}": t for name, t in tensors.items()})
    assert load_model(folder).fingerprint == tiny.ours.fingerprint


def test_a_tied_table_may_be_stored_as_the_unembedding(tmp_path: Path) -> None:
    """safetensors keeps one name of a shared pair, the first by the alphabet."""
    sizes = {"n_layer": 1, "n_embd": 16, "n_head": 2, "vocab_size": 40, "n_positions": 16}
    folder = save_random(tmp_path / "m", "gpt2", tie_word_embeddings=True, **sizes)
    before = load_model(folder)
    assert before.spec.tied

    def rename(tensors: Tensors) -> Tensors:
        (table,) = (name for name in tensors if name.endswith("wte.weight"))
        return {"lm_head.weight" if n == table else n: t for n, t in tensors.items()}

    edit_weights(folder, rename)
    assert load_model(folder).fingerprint == before.fingerprint


def test_bookkeeping_of_public_configurations(tiny: Tiny, tmp_path: Path) -> None:
    """Fields that transformers ignores; what would mean something with another value is refused."""
    folder = copy_of(tiny.folder, tmp_path / "m")
    edit_config(folder, is_llama_config=True, rope_interleaved=False, unsloth_fixed=True)
    assert load_model(folder).fingerprint == tiny.ours.fingerprint
    edit_config(folder, rope_interleaved=True)
    with pytest.raises(ModelError, match="rope_interleaved = True; only False is implemented"):
        load_model(folder)


def test_a_field_may_be_ignored_by_name(tiny: Tiny, tmp_path: Path) -> None:
    """One that is unknown, or of a value that is not implemented; never one that is read."""
    folder = copy_of(tiny.folder, tmp_path / "m")
    edit_config(folder, flavour="mild", rope_interleaved=True)
    names = ["flavour", "rope_interleaved"]
    with pytest.raises(ModelError, match="overruled: --ignore-config-field NAME"):
        load_model(folder, ignore_config_fields=names[1:])
    model = load_model(folder, ignore_config_fields=names)
    assert model.fingerprint == tiny.ours.fingerprint
    assert model.options == {"ignore_config_fields": names}
    with pytest.raises(ModelError) as e:
        load_model(folder, ignore_config_fields=["n_head", "taste"])
    assert "n_head: a setting of the computation" in str(e.value)
    assert "taste: there is no such field" in str(e.value)
    with pytest.raises(ModelError, match=r"ignore_config_fields \(x\) is about a config.json"):
        load_model("constructed:count-a", ignore_config_fields=["x"])


@pytest.mark.parametrize(
    "wrap",
    [
        lambda tensors: {"model": tensors, "optimizer": {}, "step": 3},
        lambda tensors: {"state_dict": {"module": tensors}},
        lambda tensors: {"model_state_dict": {f"_orig_mod.{n}": t for n, t in tensors.items()}},
    ],
)
def test_state_dicts_inside_a_training_checkpoint(
    tiny: Tiny, tmp_path: Path, wrap: Callable[[Tensors], object]
) -> None:
    folder = copy_of(tiny.folder, tmp_path / "m")
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    torch.save(wrap(tensors), folder / "pytorch_model.bin")
    assert load_model(folder).fingerprint == tiny.ours.fingerprint
    torch.save({"optimizer": {}, "step": 3}, folder / "pytorch_model.bin")
    with pytest.raises(ModelError, match=r"holds no tensors\. It holds: optimizer, step"):
        load_model(folder)


def test_what_a_folder_without_a_checkpoint_does_hold(tiny: Tiny, tmp_path: Path) -> None:
    """Trainers' folders, adapters, and anything else."""
    for step in (500, 1000):
        copy_of(tiny.folder, tmp_path / "trainer" / f"checkpoint-{step}")
    (tmp_path / "trainer" / "optimizer.pt").write_bytes(b"")
    with pytest.raises(ModelError, match=r"no config.json.* 2 checkpoints .* give '.*-1000'"):
        load_model(tmp_path / "trainer")
    (tmp_path / "lora").mkdir()
    (tmp_path / "lora" / "adapter_config.json").write_text('{"base_model_name_or_path": "a/b"}')
    with pytest.raises(ModelError, match=r"holds an adapter .* of 'a/b', .*merge_and_unload"):
        load_model(tmp_path / "lora")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes.txt").write_text("")
    with pytest.raises(ModelError, match=r"It holds notes\.txt"):
        load_model(tmp_path / "other")


def test_an_adapter_beside_the_weights_is_refused(tiny: Tiny, tmp_path: Path) -> None:
    folder = copy_of(tiny.folder, tmp_path / "m")
    (folder / "adapter_config.json").write_text('{"peft_type": "LORA"}')
    with pytest.raises(ModelError, match=r"has an adapter beside its weights.*merge_and_unload"):
        load_model(folder)


def test_double_precision_on_disk(tiny: Tiny, tmp_path: Path) -> None:
    folder = copy_of(tiny.folder, tmp_path / "m")
    edit_weights(
        folder, lambda tensors: {name: tensor.double() for name, tensor in tensors.items()}
    )
    assert load_model(folder).fingerprint == tiny.ours.fingerprint


def test_half_precision_on_disk_runs_in_float32(tiny: Tiny, tmp_path: Path) -> None:
    folder = copy_of(tiny.folder, tmp_path / "m")
    edit_weights(
        folder, lambda tensors: {name: tensor.bfloat16() for name, tensor in tensors.items()}
    )
    edit_config(folder, dtype="bfloat16")
    model = load_model(folder)
    assert model.transformer.embedding.dtype == "float32"
    assert model.fingerprint != tiny.ours.fingerprint


def test_safetensors_without_metadata(tiny: Tiny, tmp_path: Path) -> None:
    folder = copy_of(tiny.folder, tmp_path / "m")
    save_file(load_file(folder / "model.safetensors"), folder / "model.safetensors")
    assert load_model(folder).fingerprint == tiny.ours.fingerprint


def save_shards(tiny: Tiny, folder: Path) -> Path:
    tiny.hf.save_pretrained(folder, max_shard_size="20KB")
    assert len(list(folder.glob("model-*.safetensors"))) > 2
    return folder


def test_sharded_safetensors(tiny: Tiny, tmp_path: Path) -> None:
    assert load_model(save_shards(tiny, tmp_path / "m")).fingerprint == tiny.ours.fingerprint


def test_a_missing_shard_is_named(tiny: Tiny, tmp_path: Path) -> None:
    folder = save_shards(tiny, tmp_path / "m")
    lost = sorted(folder.glob("model-*.safetensors"))[1]
    lost.unlink()
    with pytest.raises(ModelError, match=rf"{lost.name}.*Download or save the checkpoint again"):
        load_model(folder)


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "before torch 1.6"])
def test_torch_checkpoints(tiny: Tiny, tmp_path: Path, zipped: bool) -> None:
    folder = copy_of(tiny.folder, tmp_path / "m")
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    torch.save(tensors, folder / "pytorch_model.bin", _use_new_zipfile_serialization=zipped)
    assert load_model(folder).fingerprint == tiny.ours.fingerprint


@pytest.mark.parametrize(
    "name", ["transformer.wte.weight", "lm_head.weight", "transformer.h.2.ln_2.bias"]
)
def test_the_fingerprint_sees_the_last_bit_of_one_weight(
    tiny: Tiny, tmp_path: Path, name: str
) -> None:
    def nudge(tensors: Tensors) -> Tensors:
        last = tensors[name].view(-1)[-1:]
        last.copy_(torch.nextafter(last, torch.tensor(torch.inf)))
        return tensors

    folder = copy_of(tiny.folder, tmp_path / "m")
    edit_weights(folder, nudge)
    assert load_model(folder).fingerprint != tiny.ours.fingerprint


@pytest.mark.parametrize(
    "field", ["layer_norm_epsilon", "activation_function", "scale_attn_weights", "n_head"]
)
def test_the_fingerprint_sees_the_settings(tiny: Tiny, tmp_path: Path, field: str) -> None:
    folder = copy_of(tiny.folder, tmp_path / "m")
    changed = {
        "layer_norm_epsilon": 4e-3,
        "activation_function": "relu",
        "scale_attn_weights": False,
        "n_head": 6,
    }
    edit_config(folder, **{field: changed[field]})
    assert load_model(folder).fingerprint != tiny.ours.fingerprint


def test_the_fingerprint_does_not_depend_on_where_the_model_lies(
    tiny: Tiny, tmp_path: Path
) -> None:
    model = load_model(copy_of(tiny.folder, tmp_path / "elsewhere"))
    assert model.fingerprint == tiny.ours.fingerprint
    assert (model.name, model.family, model.revision) == (str(tmp_path / "elsewhere"), "gpt2", None)


def test_a_name_in_the_hubs_cache_loads_without_network(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = "0123456789abcdef0123456789abcdef01234567"
    cached = tmp_path / "models--somebody--tiny"
    shutil.copytree(tiny.folder, cached / "snapshots" / commit)
    (cached / "refs").mkdir()
    (cached / "refs" / "main").write_text(commit)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    for local_only in (False, True):
        model = load_model("somebody/tiny", local_only=local_only)
        assert model.fingerprint == tiny.ours.fingerprint
        assert (model.name, model.revision, model.tokenizer) == ("somebody/tiny", commit, None)


def test_relative_and_home_paths(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy_of(tiny.folder, tmp_path / "m")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("m", "./m", "~/m", Path("m")):
        assert load_model(name).fingerprint == tiny.ours.fingerprint


def test_a_folder_goes_before_a_shipped_model_of_that_name(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shipped = load_model("induction-2l")
    assert "induction-2l" in shipped_models()
    assert shipped.tokenizer is not None
    copy_of(tiny.folder, tmp_path / "induction-2l")
    assert load_model("induction-2l").fingerprint == tiny.ours.fingerprint != shipped.fingerprint


def fails(folder: Path) -> None:
    with pytest.raises(ModelError):
        load_model(folder / "nowhere")


@pytest.mark.parametrize("hub_bars", [True, False])
@pytest.mark.parametrize("bars", [True, False])
@pytest.mark.parametrize("verbosity", [20, 40], ids=["info", "error"])
@pytest.mark.parametrize("action", [load_model, fails])
def test_loading_leaves_the_settings_of_other_libraries_as_they_were(
    tiny: Tiny, action: Callable[[Path], object], verbosity: int, bars: bool, hub_bars: bool
) -> None:
    before = (
        logging.get_verbosity(),
        logging.is_progress_bar_enabled(),
        hub.are_progress_bars_disabled(),
    )
    try:
        logging.set_verbosity(verbosity)
        (logging.enable_progress_bar if bars else logging.disable_progress_bar)()
        (hub.enable_progress_bars if hub_bars else hub.disable_progress_bars)()
        action(tiny.folder)
        assert logging.get_verbosity() == verbosity
        assert logging.is_progress_bar_enabled() == bars
        assert hub.are_progress_bars_disabled() != hub_bars
    finally:
        logging.set_verbosity(before[0])
        (logging.enable_progress_bar if before[1] else logging.disable_progress_bar)()
        (hub.disable_progress_bars if before[2] else hub.enable_progress_bars)()


def test_loading_prints_nothing(tiny: Tiny) -> None:
    """In a new process, without our test settings; and it takes neither torch nor transformers.

    The hub warns when bars that the environment asks for are switched off.
    """
    code = (
        "import sys; from circuitgraph import load_model; "
        "load_model(sys.argv[1]); load_model('induction-2l'); "
        "assert not {'torch', 'transformers'} & set(sys.modules)"
    )
    env = os.environ | {"HF_HUB_DISABLE_PROGRESS_BARS": "0"}
    done = subprocess.run(
        [sys.executable, "-c", code, str(tiny.folder)], capture_output=True, text=True, env=env
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
