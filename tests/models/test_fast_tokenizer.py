"""tokenizer.json without transformers: the same tokenizer, or none."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tokenizers
from tokenizers import processors
from transformers import PreTrainedTokenizerFast

from circuitgraph.models.fast_tokenizer import FastTokenizer, read_fast_tokenizer
from circuitgraph.models.loading import shipped_models
from circuitgraph.models.tokenizer import Tokenizer
from tests.models.test_tokenizer import byte_level, word_level

TEXTS = ["w3 w5 w3 w46", "ab c", " ab  <s> ab", "naïve 日本\n", "<|endoftext|>ab", "w1<pad>w1", ""]


def marked() -> tokenizers.Tokenizer:
    """Byte pairs with a BOS that the rules put before a text."""
    rules = byte_level()
    rules.add_special_tokens(["<s>", "<image>"])
    first = rules.token_to_id("<s>")
    rules.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair=None, special_tokens=[("<s>", first)]
    )
    return rules


def padded() -> tokenizers.Tokenizer:
    rules = word_level()
    rules.enable_padding(pad_token="w2", pad_id=4)  # noqa: S106
    rules.enable_truncation(3)
    return rules


def describe(inner: Any) -> dict[str, Any]:
    ours = Tokenizer(inner)
    return {
        "tokens": [ours.encode(text) for text in TEXTS],
        "texts": [ours.decode(ours.encode(text)) for text in TEXTS],
        "special": ours.special_ids,
        "rest": (ours.prefix, ours.unknown_id, ours.bos, len(ours), ours.fingerprint),
        "vocabulary": ours.vocabulary(),
        "eos": inner.eos_token_id,
        "defaults": [inner.encode(text) for text in TEXTS],
    }


def read_fast(folder: Path) -> FastTokenizer | None:
    return read_fast_tokenizer(
        lambda file: folder / file if (folder / file).is_file() else None,
        lambda: PreTrainedTokenizerFast.from_pretrained(folder),
    )


@pytest.mark.parametrize("name", sorted(shipped_models()))
def test_tokenizers_of_shipped_models(name: str) -> None:
    folder = shipped_models()[name]
    fast = read_fast(folder)
    assert fast is not None
    assert describe(fast) == describe(PreTrainedTokenizerFast.from_pretrained(folder))


TOKEN = {"content": "<s>", "lstrip": False, "normalized": False, "rstrip": False}
LISTED = {"257": TOKEN | {"content": "<|endoftext|>", "single_word": False, "special": True}}


@pytest.mark.parametrize(
    ("make_rules", "config", "older"),
    [
        (word_level, {}, None),
        (word_level, {"bos_token": "<s>", "unk_token": "<unk>", "add_bos_token": True}, None),
        (word_level, {"eos_token": "</s>", "pad_token": "<pad>", "mask_token": None}, None),
        (word_level, {"clean_up_tokenization_spaces": True, "unk_token": "<unk>"}, None),
        (byte_level, {}, {"bos_token": "<|endoftext|>", "eos_token": "<end>"}),
        (byte_level, {"added_tokens_decoder": LISTED, "eos_token": "<|endoftext|>"}, {"x": 1}),
        (byte_level, {"additional_special_tokens": ["<|endoftext|>"]}, None),
        (marked, {"bos_token": {"__type": "AddedToken", **TOKEN}, "add_bos_token": False}, None),
        (marked, {"bos_token": "<s>", "split_special_tokens": True}, {"bos_token": TOKEN}),
        (marked, {"extra_special_tokens": ["<image>"], "model_max_length": 5}, None),
        (padded, {"unk_token": "<unk>"}, None),
    ],
    ids=itertools.count(),  # not by the functions' addresses, which differ between processes
)
def test_usual_files_make_the_tokenizer_of_transformers(
    tmp_path: Path,
    make_rules: Callable[[], tokenizers.Tokenizer],
    config: dict[str, Any],
    older: dict[str, Any] | None,
) -> None:
    make_rules().save(str(tmp_path / "tokenizer.json"))
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    if older is not None:
        (tmp_path / "special_tokens_map.json").write_text(json.dumps(older))
    fast = read_fast(tmp_path)
    assert fast is not None
    assert describe(fast) == describe(PreTrainedTokenizerFast.from_pretrained(tmp_path))


@pytest.mark.parametrize(
    "config",
    [
        {"image_token": "<image>"},
        {"extra_special_tokens": {"image_token": "<image>"}},
        {"extra_special_tokens": ["<video>"]},
        {"bos_token": {"__type": "AddedToken", **TOKEN, "content": "<bos>"}},
        {"added_tokens_decoder": {"257": LISTED["257"] | {"lstrip": True}}},
        {"fix_mistral_regex": True},
        {"fast_tokenizer_files": ["tokenizer.4.0.0.json"]},
    ],
    ids=str,
)
def test_what_is_unusual_is_left_to_transformers(tmp_path: Path, config: dict[str, Any]) -> None:
    marked().save(str(tmp_path / "tokenizer.json"))
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    assert read_fast(tmp_path) is None


def test_a_chat_is_rendered_by_transformers(tmp_path: Path) -> None:
    marked().save(str(tmp_path / "tokenizer.json"))
    template = "{{ bos_token }}{% for m in messages %}[{{ m.content }}]{% endfor %}"
    config = {"chat_template": template, "bos_token": "<s>"}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    assert Tokenizer(read_fast(tmp_path)).render_chat("hello") == "<s>[hello]"
