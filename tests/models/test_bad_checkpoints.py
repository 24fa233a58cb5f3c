"""Checkpoints in several files, of other architectures or with code: what is refused, and how."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import huggingface_hub.constants
import pytest
import torch
from safetensors.torch import load_file, save_file

from circuitgraph.errors import ArgumentError, CircuitGraphError, ModelError
from circuitgraph.models.families import families
from circuitgraph.models.families.unsupported import explain_unsupported
from circuitgraph.models.loading import load_model
from tests.models.checkpoint_files import Tensors, copy_of, edit_config, edit_weights
from tests.parity.cases import CASES
from tests.parity.harness import save_random

LENS = Path(__file__).parent / "lens"
INDEX = {".safetensors": "model.safetensors.index.json", ".bin": "pytorch_model.bin.index.json"}
QUERY = "model.layers.1.self_attn.q_proj.weight"


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_random(tmp_path_factory.mktemp("llama"), "llama", **CASES["llama"])


@pytest.fixture
def llama(original: Path, tmp_path: Path) -> Path:
    """A grouped-query model, to be broken."""
    return copy_of(original, tmp_path / "llama")


def refusal(name: str | Path, **options: Any) -> str:
    with pytest.raises(CircuitGraphError) as e:
        load_model(name, **options)
    assert isinstance(e.value, ModelError) or "Unknown model" in str(e.value)
    return str(e.value)


def split(folder: Path, suffix: str) -> list[Path]:
    """Lay the weights out in three shards with an index."""
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names, shards, where = sorted(tensors), [], {}
    for i in range(3):
        part = {name: tensors[name] for name in names[i::3]}
        shards.append(folder / f"part-{i + 1}-of-3{suffix}")
        torch.save(part, shards[-1]) if suffix == ".bin" else save_file(part, shards[-1])
        where |= dict.fromkeys(part, shards[-1].name)
    (folder / INDEX[suffix]).write_text(json.dumps({"metadata": {}, "weight_map": where}))
    return shards


@pytest.mark.parametrize("suffix", INDEX)
def test_shards(llama: Path, original: Path, suffix: str) -> None:
    split(llama, suffix)
    assert load_model(llama).fingerprint == load_model(original).fingerprint


@pytest.mark.parametrize("suffix", INDEX)
@pytest.mark.parametrize("kept", [0, -40])
def test_the_truncated_shard_is_named(llama: Path, suffix: str, kept: int) -> None:
    shard = split(llama, suffix)[1]
    shard.write_bytes(shard.read_bytes()[:kept])
    message = refusal(llama)
    assert message.startswith(f"The file part-2-of-3{suffix} of {str(llama)!r} ")
    assert "part-1" not in message
    assert "part-3" not in message


@pytest.mark.parametrize("suffix", INDEX)
def test_a_missing_shard_is_named(llama: Path, suffix: str) -> None:
    split(llama, suffix)[2].unlink()
    assert (
        f"The weights of {str(llama)!r} are incomplete: there is no file part-3-of-3{suffix}."
        in refusal(llama)
    )


@pytest.mark.parametrize(
    ("index", "message"),
    [
        (
            {"weight_map": {"a": "../other/model.safetensors"}},
            "names files that are no shards:\n  - ../other/model",
        ),
        (
            {"weight_map": {"a": "/etc/model.safetensors"}},
            "names files that are no shards:\n  - /etc/model.safetensors",
        ),
        ({"weight_map": {"a": 3, "b": "x.safetensors"}}, "names files that are no shards:\n  - 3"),
        (
            {"weight_map": {"a": ["x.safetensors"]}},
            "names files that are no shards:\n  - ['x.safetensors']",
        ),
        ({"weight_map": {}}, "is no index of shards: it names none"),
        ({"weights": {}}, "is no index of shards: 'weight_map'"),
        ({"weight_map": 3}, "is no index of shards: "),
        ([1], "is no index of shards: "),
        ("{", "is no index of shards: Expecting property name"),
    ],
    ids=str,
)
def test_indices_that_are_none(llama: Path, index: Any, message: str) -> None:
    split(llama, ".safetensors")
    (llama / INDEX[".safetensors"]).write_text(
        index if isinstance(index, str) else json.dumps(index)
    )
    assert f"The file model.safetensors.index.json of {str(llama)!r} {message}" in refusal(llama)


def drop_tensor(tensor: str) -> Callable[[Tensors], Tensors]:
    return lambda tensors: {name: value for name, value in tensors.items() if name != tensor}


def change_tensor(
    tensor: str, value: Callable[[torch.Tensor], torch.Tensor]
) -> Callable[[Tensors], Tensors]:
    return lambda tensors: tensors | {tensor: value(tensors[tensor])}


FUSED = "model.layers.2.self_attn.qkv_proj.weight"


def shorten(tensor: torch.Tensor) -> torch.Tensor:
    return tensor[1:]


@pytest.mark.parametrize(
    ("family", "change", "problem"),
    [
        ("llama", drop_tensor(QUERY), f"missing: {QUERY}"),
        (
            "llama",
            change_tensor(QUERY, shorten),
            f"wrong shape: {QUERY} has [31, 24], but config.json asks for [32, 24]",
        ),
        ("phi3", drop_tensor(FUSED), f"missing: {FUSED}"),
        # Queries of four heads, keys and values of two, of size eight each, lie in one tensor.
        (
            "phi3",
            change_tensor(FUSED, shorten),
            f"wrong shape: {FUSED} has [63, 24], but config.json asks for [64, 24]",
        ),
        (
            "llama",
            change_tensor(QUERY, lambda t: t.to(torch.int8)),
            f"wrong dtype: {QUERY} is I8, but must be one of",
        ),
        (
            "llama",
            change_tensor(QUERY, lambda t: t.to(torch.uint8)),
            f"wrong dtype: {QUERY} is U8, but must be one of",
        ),
        (
            "llama",
            change_tensor(QUERY, lambda t: t.to(torch.float8_e4m3fn)),
            f"wrong dtype: {QUERY} is F8_E4M3, but must be",
        ),
    ],
)
def test_a_tensor_is_refused_by_name(
    family: str, change: Callable[[Tensors], Tensors], problem: str, tmp_path: Path
) -> None:
    folder = save_random(tmp_path / "m", family, **CASES[family])
    edit_weights(folder, change)
    title, only = refusal(folder).splitlines()
    assert (
        title
        == f"The weights of {str(folder)!r} are not what its config.json describes. Correct either:"
    )
    assert only.startswith(f"  - {problem}")


def test_integers_in_torch_files_are_refused_too(llama: Path) -> None:
    edit_weights(llama, change_tensor(QUERY, lambda t: t.to(torch.int8)))
    split(llama, ".bin")
    assert f"wrong dtype: {QUERY} is int8, but must be one of float32, bfloat16" in refusal(llama)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_widened_exactly(llama: Path, tmp_path: Path, dtype: torch.dtype) -> None:
    edit_weights(
        llama, lambda tensors: {name: tensor.to(dtype) for name, tensor in tensors.items()}
    )
    wide = copy_of(llama, tmp_path / "wide")
    edit_weights(wide, lambda tensors: {name: tensor.float() for name, tensor in tensors.items()})
    assert load_model(llama).fingerprint == load_model(wide).fingerprint


OTHERS = [
    "bert",
    "roberta",
    "t5",
    "bart",
    "vit",
    "clip",
    "llava",
    "whisper",
    "wav2vec2",
    "mamba",
    "transformer_lens",
]


@pytest.mark.parametrize("model_type", OTHERS)
def test_other_architectures_are_named(llama: Path, model_type: str) -> None:
    """Encoders, encoder-decoders, vision, speech, recurrence; a family whose models are files."""
    edit_config(llama, model_type=model_type)
    supported = ", ".join(name for name in families.names() if name != "transformer_lens")
    assert refusal(llama) == (
        f"{str(llama)!r} is of the architecture {model_type!r}, which is not supported"
        f"{explain_unsupported(model_type)}. Supported: {supported}."
    )


@pytest.mark.parametrize(
    ("fields", "problems"),
    [
        (
            {"quantization_config": {"quant_method": "fp8"}},
            ["quantization_config = {'quant_method': 'fp8'}; "],
        ),
        ({"is_encoder_decoder": True}, ["is_encoder_decoder = True; only False is implemented"]),
        (
            {"brand_new": [1, 2], "attn_gate": 0.5},
            [
                f"{field}; a field that circuitgraph.models.families.llama does not know"
                for field in ("attn_gate = 0.5", "brand_new = [1, 2]")
            ],
        ),
    ],
    ids=str,
)
def test_settings_are_listed_with_their_values(
    llama: Path, fields: dict[str, Any], problems: list[str]
) -> None:
    edit_config(llama, **fields)
    title, *lines = refusal(llama).splitlines()
    assert title.startswith(
        "This llama configuration has settings that would or might change the computation"
    )
    assert len(lines) == len(problems)
    for line, problem in zip(sorted(lines), problems, strict=True):
        assert line.startswith(f"  - {problem}")


@pytest.mark.parametrize("config", ["config.json", "cfg.json", "toy.json"])
def test_a_folder_with_a_transformer_lens_model(config: str, tmp_path: Path) -> None:
    shutil.copy(LENS / "layer_norm.json", tmp_path / config)
    torch.save(load_file(LENS / "layer_norm.safetensors"), tmp_path / "toy.pt")
    weights = str(tmp_path / "toy.pt")
    hint = f"To load the TransformerLens model in it, give its state dict: {weights!r}."
    assert hint in refusal(tmp_path)
    assert load_model(tmp_path / "toy.pt").family == "transformer_lens"


def test_a_transformer_lens_model_under_the_names_of_a_checkpoint(tmp_path: Path) -> None:
    shutil.copy(LENS / "layer_norm.json", tmp_path / "config.json")
    shutil.copy(LENS / "layer_norm.safetensors", tmp_path / "model.safetensors")
    message = refusal(tmp_path)
    assert message.startswith(
        f"The config.json of {str(tmp_path)!r} has no 'model_type'. To load the TransformerLens"
    )
    assert f"give its state dict: {str(tmp_path / 'model.safetensors')!r}." in message


@pytest.mark.parametrize("name", ["x" * 300 + ".pt", "~no-such-user/model.pt"])
def test_files_that_cannot_be_looked_up(name: str) -> None:
    assert refusal(name).startswith(f"{name!r} cannot be looked up: ")
    assert refusal(name, config={}).startswith(f"{name!r} cannot be looked up: ")
    assert refusal(LENS / "solu.safetensors", config=name).startswith(
        f"{name!r} cannot be looked up: "
    )


def test_a_file_that_does_not_exist() -> None:
    assert refusal("./nowhere.pt").startswith("There is no file './nowhere.pt'.")


@pytest.fixture
def bomb(llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file that appears once the code beside the checkpoint has run."""
    trace, code = tmp_path / "exploded", llama / "bomb.py"
    code.write_text(
        f"from transformers import LlamaConfig\nopen({str(trace)!r}, 'w').close()\nclass "
        "Bomb(LlamaConfig):\n    pass\n"
    )
    edit_config(llama, auto_map={"AutoConfig": "bomb.Bomb", "AutoTokenizer": ["bomb.Bomb", None]})
    monkeypatch.setattr(
        "transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "modules")
    )
    monkeypatch.setattr(sys, "path", [*sys.path])
    return trace


def test_code_beside_a_checkpoint_runs_only_if_trusted(llama: Path, bomb: Path) -> None:
    assert load_model(llama).family == "llama"
    assert not bomb.exists()
    load_model(llama, trust_remote_code=True)
    assert bomb.exists()


@pytest.mark.parametrize("trust", [False, True])
def test_code_of_an_unknown_architecture_never_runs(llama: Path, bomb: Path, trust: bool) -> None:
    edit_config(llama, model_type="brand_new")
    assert "of the architecture 'brand_new', which is not supported" in refusal(
        llama, trust_remote_code=trust
    )
    assert not bomb.exists()


COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def cached(llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The snapshot of somebody/llama in the hub's cache."""
    folder = tmp_path / "models--somebody--llama"
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text(COMMIT)
    return copy_of(llama, folder / "snapshots" / COMMIT)


def test_what_the_hub_provides_is_named_as_a_folder_is(cached: Path) -> None:
    assert load_model("somebody/llama").revision == COMMIT
    assert "did not provide it at revision 'v9': " in refusal("somebody/llama", revision="v9")
    split(cached, ".safetensors")[1].unlink()
    message = refusal("somebody/llama")
    assert message.startswith(
        "The weights of 'somebody/llama' are incomplete: the hub did not provide part-2-of-3.safe"
    )
    edit_config(cached, model_type="brand_new", auto_map={"AutoConfig": "bomb.Bomb"})
    assert refusal("somebody/llama").startswith(
        "'somebody/llama' is of the architecture 'brand_new', which is not"
    )
    (cached / "config.json").write_text("{}")
    assert refusal("somebody/llama").startswith(
        "The config.json of 'somebody/llama' has no 'model_type'."
    )


def test_double_precision_needs_to_be_switched_on(llama: Path) -> None:
    options: tuple[dict[str, Any], ...] = ({}, {"config": {}})
    for given in options:
        with pytest.raises(
            ArgumentError, match="float64 needs jax's 64-bit mode: set JAX_ENABLE_X64=1"
        ):
            load_model(llama, dtype="float64", **given)
