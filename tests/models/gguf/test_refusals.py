"""GGUF files that cannot be used: one error that names what is wrong, and no memory."""

from __future__ import annotations

import struct
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest

from circuitgraph.errors import MissingExtraError, ModelError
from circuitgraph.models.gguf import header
from circuitgraph.models.loading import find_model, load_model
from tests.gguf_files import Write, make_model, write_gguf


@pytest.fixture(scope="module")
def model() -> Any:
    return make_model("llama", tie_word_embeddings=True)


@pytest.fixture(scope="module")
def content(model: Any, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A file that can be used."""
    return write_gguf(tmp_path_factory.mktemp("gguf") / "tiny.gguf", "llama", model).read_bytes()


def refusal(path: Path) -> str:
    with pytest.raises(ModelError) as e:
        load_model(path)
    return str(e.value)


def refuse_bytes(folder: Path, content: bytes) -> str:
    path = folder / "bad.gguf"
    path.write_bytes(content)
    return refusal(path)


def _add_fields(**fields: int | float | str) -> Write:
    writers = {int: "add_uint32", float: "add_float32", str: "add_string"}

    def write_more(writer: gguf.GGUFWriter, model: Any) -> None:
        for key, value in fields.items():
            getattr(writer, writers[type(value)])(key.replace("__", "."), value)

    return write_more


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"llama__attention__clamp_kqv": 8.0}, "llama.attention.clamp_kqv = 8.0"),
        ({"llama__attention__sliding_window": 4}, "llama.attention.sliding_window = 4"),
        ({"llama__expert_count": 8}, "llama.expert_count = 8; expected is 0"),
        ({"llama__rope__scaling__type": "yarn"}, "has no setting llama.rope.scaling.factor"),
        ({"general__type": "adapter"}, "general.type is 'adapter'"),
        ({"split__count": 3}, "is one of 3 parts"),
        ({"tokenizer__ggml__model": "rwkv"}, "a tokenizer of the kind 'rwkv'"),
        ({"tokenizer__ggml__model": "gpt2"}, "the file does not say"),
        (
            {"tokenizer__ggml__model": "gpt2", "tokenizer__ggml__pre": "viking"},
            "tokenizer.ggml.pre = 'viking'",
        ),
    ],
)
def test_settings_that_nothing_reads_are_named(
    model: Any, tmp_path: Path, fields: dict[str, Any], problem: str
) -> None:
    path = write_gguf(tmp_path / "tiny.gguf", "llama", model, write_more=_add_fields(**fields))
    assert problem in refusal(path)


def _add_tensor(name: str, shape: tuple[int, ...] = (4,)) -> Write:
    return lambda writer, model: writer.add_tensor(name, np.full(shape, 7.0, np.float32))


@pytest.mark.parametrize(
    ("write_more", "problem"),
    [
        (_add_tensor("blk.0.attn_sinks.weight"), "unknown tensor: blk.0.attn_sinks.weight"),
        (_add_tensor("blk.0.attn_norm.bias", (64,)), "model.layers.0.input_layernorm.bias"),
        (_add_tensor("output.weight", (50, 63)), "but metadata asks for [50, 64]"),
    ],
)
def test_tensors_that_nothing_reads_are_named(
    model: Any, tmp_path: Path, write_more: Write, problem: str
) -> None:
    assert problem in refusal(write_gguf(tmp_path / "t.gguf", "llama", model, "F32", write_more))


def test_other_factors_than_llama_3s_are_refused(model: Any, tmp_path: Path) -> None:
    plain = make_model("llama", rope_parameters={"rope_type": "default", "rope_theta": 5000.0})
    more = _add_tensor("rope_freqs.weight", (8,))
    assert "rope_freqs.weight" in refusal(
        write_gguf(tmp_path / "t.gguf", "llama", plain, "F32", more)
    )


def test_other_architectures_are_named(content: bytes, tmp_path: Path) -> None:
    text = refuse_bytes(tmp_path, content.replace(b"llama", b"mamba"))
    assert "of the architecture 'mamba'" in text
    assert "Read are llama, qwen2, qwen3" in text


def test_numbers_that_the_package_cannot_read_are_named(model: Any, tmp_path: Path) -> None:
    def write_double(writer: gguf.GGUFWriter, model: Any) -> None:
        writer.add_tensor("output.weight", np.ones((50, 64), np.float64))

    path = write_gguf(tmp_path / "t.gguf", "llama", model, write_more=write_double)
    assert "output.weight is F64" in refusal(path)


_START = b"GGUF" + struct.pack("<I", 3)


def _text(value: bytes) -> bytes:
    return struct.pack("<Q", len(value)) + value


def _announce_list(kind: int, count: int) -> Callable[[bytes], bytes]:
    """A file with one field, a list of so many values."""
    start = _START + struct.pack("<QQ", 0, 1) + _text(b"a")
    return lambda _: start + struct.pack("<IIQ", 9, kind, count)


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        (lambda c: b"", "is truncated or is no GGUF file"),
        (lambda c: b"PK\x03\x04" + c[4:], "does not begin with GGUF"),
        (lambda c: c[: len(c) // 2], "lie beyond its end"),
        (lambda c: c[:100], "announces"),
        (lambda c: b"GGUF" + struct.pack(">I", 3) + c[8:], "version 0x3000000"),
        (lambda c: _START + struct.pack("<QQ", 2**62, 0), "announces"),
        (lambda c: _START + struct.pack("<QQ", 0, 2**62) + b"\0" * 1000, "two fields ''"),
        (lambda c: _START + struct.pack("<QQQ", 0, 1, 2**63) + c, "announces"),
        (_announce_list(4, 2**60), "announces"),  # numbers
        (_announce_list(8, 2**60), "a list of"),  # texts
        (_announce_list(9, 9), "a list of"),  # lists
        (  # a tensor of 2**80 numbers
            lambda c: _START
            + struct.pack("<QQ", 1, 0)
            + _text(b"a")
            + struct.pack("<IQQIQ", 2, 2**40, 2**40, 0, 0),
            "lie beyond its end",
        ),
    ],
)  # fmt: skip
def test_a_broken_file_takes_no_memory(
    content: bytes, tmp_path: Path, damage: Callable[[bytes], bytes], problem: str
) -> None:
    path = tmp_path / "bad.gguf"
    path.write_bytes(damage(content))
    tracemalloc.start()
    assert problem in refusal(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 20e6


def test_more_layers_than_tensors(content: bytes, tmp_path: Path) -> None:
    key = b"llama.block_count" + struct.pack("<I", 4)
    claim = content.replace(key + struct.pack("<I", 3), key + struct.pack("<I", 10**9))
    assert "too few for 1000000000 layers" in refuse_bytes(tmp_path, claim)


def test_every_cut_of_the_header_is_refused(content: bytes, tmp_path: Path) -> None:
    for length in range(4, 600, 7):
        assert "truncated" in refuse_bytes(tmp_path, content[:length])


def test_a_folder_that_holds_one_names_it(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "tiny.gguf").write_bytes(content)
    assert f"give its file: {str(tmp_path / 'tiny.gguf')!r}" in refusal(tmp_path)


def test_no_file() -> None:
    assert "There is no file 'nowhere/tiny.gguf'" in refusal(Path("nowhere/tiny.gguf"))


def test_without_the_package_it_is_named(
    content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tiny.gguf").write_bytes(content)

    def fail_to_import(module: str) -> Any:
        raise ImportError(module)

    monkeypatch.setattr(header, "import_module", fail_to_import)
    with pytest.raises(MissingExtraError, match=r"pip install 'circuitgraph-interp\[gguf\]'"):
        load_model(tmp_path / "tiny.gguf")


def test_a_record_finds_the_file_beside_it(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "tiny.gguf").write_bytes(content)
    assert find_model("tiny.gguf", tmp_path / "circuit.json") == str(tmp_path / "tiny.gguf")
