"""A GGUF file's tokenizer splits text as the tokenizer does that it was made of."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gguf
import pytest
from tokenizers import Tokenizer as Backend
from tokenizers import decoders, models, normalizers, pre_tokenizers, trainers

from circuitgraph.models.gguf.splitting import find_splitting
from circuitgraph.models.loading import load_model
from circuitgraph.models.tokenizer import Tokenizer
from tests.gguf_files import Write, make_model, write_gguf

_CORPUS = [
    "When Mary and John went to the store, John gave a drink to Mary.",
    "the keys to the cabinet are on the table; the year 2024, don't  say 1999",
] * 3
_TEXTS = [
    *_CORPUS[:2],
    "  two spaces",
    "a\nb\n\n c",
    "na\u00efve \u00e9t\u00e9 \u6f22 \U0001f600",
    "x<|end|>y",
]
_SPECIAL, _UNKNOWN = "<|end|>", "<unk>"


def _train_byte_level() -> Backend:
    backend = Backend(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(  # pyright: ignore[reportCallIssue]
        vocab_size=330,
        special_tokens=[_SPECIAL],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator(_CORPUS, trainer)
    return backend


def _train_sentencepiece() -> Backend:
    """Pieces in the order in which they are merged, after the bytes, as sentencepiece has them."""
    bytes_ = [f"<0x{byte:02X}>" for byte in range(256)]
    backend = Backend(models.BPE(unk_token=_UNKNOWN, byte_fallback=True, fuse_unk=True))
    backend.normalizer = normalizers.Sequence(
        [normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")]
    )
    backend.decoder = decoders.Sequence(
        [
            decoders.Replace("\u2581", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    trainer = trainers.BpeTrainer(  # pyright: ignore[reportCallIssue]
        vocab_size=340, special_tokens=["<unk>", _SPECIAL, *bytes_], show_progress=False
    )
    backend.pre_tokenizer = pre_tokenizers.Metaspace()  # no pieces of several words
    backend.train_from_iterator(_CORPUS, trainer)
    backend.pre_tokenizer = None  # pyright: ignore[reportAttributeAccessIssue]
    return backend


def _write_tokenizer(backend: Backend, kind: str, **fields: Any) -> Write:
    vocab = sorted(backend.get_vocab(), key=backend.get_vocab().__getitem__)
    types = [
        3 if t == _SPECIAL else 2 if t == "<unk>" else 6 if t[:3] == "<0x" else 1 for t in vocab
    ]
    merges = json.loads(backend.to_str())["model"]["merges"]

    def write_more(writer: gguf.GGUFWriter, model: Any) -> None:
        writer.add_tokenizer_model(kind)
        writer.add_token_list(vocab)
        writer.add_token_types(types)
        writer.add_bos_token_id(vocab.index(_SPECIAL))
        if kind == "gpt2":
            writer.add_tokenizer_pre("gpt-2")
            writer.add_token_merges([" ".join(merge) for merge in merges])
        else:
            writer.add_token_scores([-float(i) for i in range(len(vocab))])
            writer.add_unk_token_id(vocab.index("<unk>"))
        for name, value in fields.items():
            getattr(writer, name)(value)

    return write_more  # fmt: skip


def _load_tokenizer(path: Path, backend: Backend, kind: str, **fields: Any) -> Tokenizer:
    model = make_model("llama", vocab_size=backend.get_vocab_size())
    write_gguf(path, "llama", model, write_more=_write_tokenizer(backend, kind, **fields))
    tokenizer = load_model(path).tokenizer
    assert tokenizer is not None
    return tokenizer


@pytest.mark.parametrize(
    ("train", "kind", "adds_bos"),
    [(_train_byte_level, "gpt2", False), (_train_sentencepiece, "llama", True)],
)
def test_text_becomes_the_same_tokens(
    train: Any, kind: str, adds_bos: bool, tmp_path: Path
) -> None:
    backend = train()
    ours = _load_tokenizer(tmp_path / "t.gguf", backend, kind)
    for text in _TEXTS:
        ids = backend.encode(text, add_special_tokens=False).ids
        assert ours.encode(text) == ids
        assert ours.decode(ids) == backend.decode(ids, skip_special_tokens=False)
    assert ours.tokens(list(ours.prefix)) == ([_SPECIAL] if adds_bos else [])
    assert ours.special_ids >= {backend.token_to_id(_SPECIAL)}


@pytest.mark.parametrize("adds_bos", [True, False])
def test_the_file_decides_about_bos(tmp_path: Path, adds_bos: bool) -> None:
    ours = _load_tokenizer(
        tmp_path / "t.gguf", _train_byte_level(), "gpt2", add_add_bos_token=adds_bos
    )
    assert ours.tokens(list(ours.prefix)) == [_SPECIAL] * adds_bos
    assert ours.bos == _SPECIAL


def test_a_sentencepiece_tokenizer_without_a_space_in_front(tmp_path: Path) -> None:
    ours = _load_tokenizer(
        tmp_path / "t.gguf", _train_sentencepiece(), "llama", add_add_space_prefix=False
    )
    assert ours.decode(ours.encode("the keys")) == "the keys"
    assert ours.tokens(ours.encode(" the")) == [" the"]
    assert " the" not in ours.tokens(ours.encode("the"))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("gpt-2", "don|'t| say| 2024|!|  | ok"),
        ("smollm", "don|'t| say| |2|0|2|4|!|  | ok"),
        ("llama-bpe", "don|'t| say| |202|4|!|  | ok"),
        ("qwen2", "don|'t| say| |2|0|2|4|!|  | ok"),
        ("gpt-4o", "don't| say| |202|4|!|  | ok"),
    ],
)
def test_words_are_those_of_the_original_tokenizers(name: str, words: str) -> None:
    _, splitter = find_splitting("m", name).make_steps()
    parts = [word for word, _ in splitter.pre_tokenize_str("don't say 2024!   ok")]
    assert "|".join(parts).replace("\u0120", " ") == words
