"""Tokenizers: exactly the tokens of the text, by the rules in the checkpoint's own files."""

from __future__ import annotations

import json
import logging
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
import tokenizers
from tokenizers import models, pre_tokenizers, processors

from circuitgraph.errors import ModelError
from circuitgraph.models.loading import load_model
from circuitgraph.models.tokenizer import Tokenizer
from tests.checkpoints import Tiny
from tests.models.checkpoint_files import copy_of

TEXT = "w3 w5 w3 w46"


def word_level(n: int = 46, unknown: str = "<unk>") -> tokenizers.Tokenizer:
    """Words w0, w1, ... after <s> and <unk>; a post-processor would put <s> before every text."""
    vocabulary = {"<s>": 0, "<unk>": 1, **{f"w{i}": i + 2 for i in range(n)}}
    rules = tokenizers.Tokenizer(models.WordLevel(vocabulary, unknown))
    rules.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    rules.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", 0)]
    )
    return rules


def byte_level() -> tokenizers.Tokenizer:
    """Like GPT-2's: every text has tokens, and only tokenizer.json marks an end of text."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    rules = tokenizers.Tokenizer(
        models.BPE({letter: i for i, letter in enumerate([*letters, "ab"])}, [("a", "b")])
    )
    rules.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    rules.decoder = tokenizers.decoders.ByteLevel()
    rules.add_special_tokens(["<|endoftext|>"])
    return rules


def load_tokenizer(
    tiny: Tiny, folder: Path, rules: tokenizers.Tokenizer, config: dict[str, Any] | None = None
) -> Tokenizer:
    copy_of(tiny.folder, folder)
    rules.save(str(folder / "tokenizer.json"))
    if config is not None:
        (folder / "tokenizer_config.json").write_text(json.dumps(config))
    tokenizer = load_model(folder).tokenizer
    assert tokenizer is not None
    return tokenizer


@pytest.mark.parametrize("in_sequence", [False, True])
def test_the_space_in_front_is_as_the_configuration_says(
    tiny: Tiny, tmp_path: Path, in_sequence: bool
) -> None:
    rules = byte_level()
    if in_sequence:
        parts = [pre_tokenizers.Digits(), pre_tokenizers.ByteLevel(add_prefix_space=False)]
        rules.pre_tokenizer = pre_tokenizers.Sequence(parts)
    plain = load_tokenizer(tiny, tmp_path / "plain", rules)
    spaced = load_tokenizer(tiny, tmp_path / "spaced", rules, {"add_prefix_space": True})
    assert spaced.encode("ab") == plain.encode(" ab") != plain.encode("ab")
    assert spaced.encode_answer("ab", "ab") == plain.encode("ab")
    assert spaced.fingerprint != plain.fingerprint


def test_what_stands_before_a_prompt(tiny: Tiny, tmp_path: Path) -> None:
    """What the tokenizer itself puts there, unless asked otherwise; never what it puts behind."""
    rules = byte_level()
    rules.add_special_tokens(["<s>", "</s>"])
    first, last = rules.token_to_id("<s>"), rules.token_to_id("</s>")
    rules.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair=None, special_tokens=[("<s>", first), ("</s>", last)]
    )
    tokenizer = load_tokenizer(tiny, tmp_path / "m", rules, {"bos_token": "<s>"})
    assert tokenizer.prefix == tokenizer.with_bos("yes").prefix == (first,)
    assert tokenizer.with_bos("no").prefix == ()
    assert tokenizer.with_bos("no").with_bos("auto").prefix == (first,)
    mute = load_tokenizer(tiny, tmp_path / "mute", byte_level())
    assert mute.prefix == ()
    with pytest.raises(ModelError, match="the tokenizer has no BOS"):
        mute.with_bos("yes")


@pytest.mark.parametrize(
    "config",
    [
        None,
        {},
        {"tokenizer_class": "PreTrainedTokenizerFast"},
        {"tokenizer_class": "GPT2Tokenizer"},
        {"tokenizer_class": "GPT2TokenizerFast", "add_prefix_space": True},
        {"add_bos_token": True, "bos_token": "<s>", "unk_token": "<unk>"},
    ],
    ids=str,
)
def test_the_rules_of_tokenizer_json_decide(
    tiny: Tiny, tmp_path: Path, config: dict[str, Any] | None
) -> None:
    """Whatever class the model's family usually has; and no token is ever added."""
    rules = word_level()
    tokenizer = load_tokenizer(tiny, tmp_path / "m", rules, config)
    expected = rules.encode(TEXT, add_special_tokens=False).ids
    assert expected == [5, 7, 5, 1]  # w46 is not in the vocabulary
    assert rules.encode(TEXT).ids[0] == 0, "a tokenizer that adds nothing would test nothing"
    assert tokenizer.encode(TEXT) == expected
    assert tokenizer.encode_all([TEXT, "w1", ""]) == [expected, [3], []]
    assert tokenizer.decode([5, 7, 5]).split() == ["w3", "w5", "w3"]
    assert len(tokenizer) == 48
    assert tokenizer.unknown_id == 1


def test_special_tokens_are_no_vocabulary(tiny: Tiny, tmp_path: Path) -> None:
    tokenizer = load_tokenizer(
        tiny, tmp_path / "m", word_level(), {"bos_token": "<s>", "unk_token": "<unk>"}
    )
    assert tokenizer.special_ids == {0, 1}
    assert tokenizer.vocabulary() == list(range(2, 48))


def test_a_vocabulary_without_special_tokens(tiny: Tiny, tmp_path: Path) -> None:
    rules = tokenizers.Tokenizer(models.WordLevel({f"w{i}": i for i in range(50)}, "nowhere"))
    rules.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = load_tokenizer(tiny, tmp_path / "m", rules)
    assert (tokenizer.unknown_id, tokenizer.special_ids) == (None, frozenset())
    assert tokenizer.vocabulary() == list(range(50))
    assert tokenizer.encode("w3 w5") == [3, 5]


@pytest.mark.parametrize(
    "config", [None, dict.fromkeys(("bos_token", "eos_token", "unk_token"), "<|endoftext|>")]
)
def test_byte_level_vocabularies_know_every_text(
    tiny: Tiny, tmp_path: Path, config: dict[str, Any] | None
) -> None:
    """GPT-2 calls its end of text unknown, but a prompt that starts with it is no unknown text."""
    tokenizer = load_tokenizer(tiny, tmp_path / "m", byte_level(), config)
    assert tokenizer.unknown_id is None
    assert tokenizer.special_ids == {257}
    assert tokenizer.vocabulary() == list(range(257))
    assert tokenizer.encode("<|endoftext|>ab")[0] == 257
    for text in ("ab c", " ab , d'e ", "naïve 日本", "\n\tab"):
        assert tokenizer.decode(tokenizer.encode(text)) == text


def test_gpt2_files_before_tokenizer_json(tiny: Tiny, tmp_path: Path) -> None:
    folder, rules = copy_of(tiny.folder, tmp_path / "m"), byte_level()
    content = json.loads(rules.to_str())["model"]
    (folder / "vocab.json").write_text(json.dumps(content["vocab"]))
    (folder / "merges.txt").write_text("#version: 0.2\na b\n")
    tokenizer = load_model(folder).tokenizer
    assert tokenizer is not None
    assert tokenizer.encode("ab cab") == rules.encode("ab cab").ids
    assert tokenizer.unknown_id is None


def test_a_sentencepiece_model_says_what_it_needs(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def find_none(package: str) -> str:
        raise metadata.PackageNotFoundError(package)

    folder = copy_of(tiny.folder, tmp_path / "m")
    (folder / "tokenizer.model").write_bytes(b"")
    monkeypatch.setattr(metadata, "version", find_none)
    with pytest.raises(ModelError, match=r"SentencePiece model .*pip install sentencepiece"):
        load_model(folder)


def test_long_texts_are_not_reported_by_others(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """transformers warns about every text beyond its own idea of the context."""
    monkeypatch.setattr(logging.getLogger("transformers"), "propagate", True)
    tokenizer = load_tokenizer(tiny, tmp_path / "m", word_level(), {"model_max_length": 3})
    with caplog.at_level(logging.WARNING, "transformers"):
        assert len(tokenizer.encode("w1 " * 40)) == 40
        assert [len(ids) for ids in tokenizer.encode_all(["w1 " * 40])] == [40]
    assert caplog.records == []


def test_the_fingerprint_changes_with_vocabulary_and_rules_only(tiny: Tiny, tmp_path: Path) -> None:
    first = load_tokenizer(tiny, tmp_path / "a", word_level())
    again = load_tokenizer(tiny, tmp_path / "b", word_level())
    before = first.fingerprint
    assert again.fingerprint == before
    first.encode(TEXT)
    assert first.fingerprint == before
    lower = word_level()
    lower.normalizer = tokenizers.normalizers.Lowercase()
    others = [word_level(45), word_level(unknown="w1"), lower, byte_level()]
    prints = {
        load_tokenizer(tiny, tmp_path / str(i), rules).fingerprint for i, rules in enumerate(others)
    }
    assert len(prints | {before}) == 5


def test_no_tokenizer_is_none_and_settings_alone_are_none_too(tiny: Tiny, tmp_path: Path) -> None:
    assert tiny.ours.tokenizer is None
    folder = copy_of(tiny.folder, tmp_path / "m")
    (folder / "tokenizer_config.json").write_text("{}")
    assert load_model(folder).tokenizer is None


@pytest.mark.parametrize("content", ["", "{", "{}", "[]", '{"model": {"type": "Unheard"}}'])
def test_broken_tokenizers_are_refused(tiny: Tiny, tmp_path: Path, content: str) -> None:
    folder = copy_of(tiny.folder, tmp_path / "m")
    (folder / "tokenizer.json").write_text(content)
    with pytest.raises(ModelError) as e:
        load_model(folder)
    assert str(e.value).startswith(f"The tokenizer of {str(folder)!r} cannot be read: ")
    assert str(e.value).endswith("Save it again, or remove its files: a model runs without one.")
