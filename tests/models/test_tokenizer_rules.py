"""Rules of a tokenizer that would cost minutes or gigabytes are refused before any of them runs."""

from __future__ import annotations

import base64
import json
import shutil
import time
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Regex, Tokenizer, pre_tokenizers
from tokenizers.models import WordLevel
from transformers import PreTrainedTokenizerFast

from circuitgraph.errors import ModelError
from circuitgraph.models.gguf.splitting import _SPLITTINGS
from circuitgraph.models.tokenizer import Tokenizer as OurTokenizer
from circuitgraph.models.tokenizer import read_tokenizer
from circuitgraph.models.tokenizer_rules import check_rules, estimate_cost

MODEL = Path(__file__).resolve().parents[2] / "catalog" / "models" / "induction-2l"
# Of models in use, beside those that GGUF files name.
KNOWN = {
    "GPT-2": r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
    "BLOOM": r" ?[^(\s|[.,!?…。，、।۔،])]+",  # noqa: RUF001
    "DeepSeek": r"[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)",
    "Kimi": r"[\p{Han}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{M}&&[^\p{Han}]]*[\p{Ll}\p{M}&&[^\p{Han}]]+",
    "groups of three digits": r"(?=(\d{3})+(?!\d))",
    "possessive": r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]++",
    "ends": r"\A +| +\z",
    "pieces": "|".join(f"token{i}" for i in range(3000)),
}
BOMBS = {
    "repeated": "(a+)+b",
    "repeated choice": "(a|a)*b",
    "choices in a row": "(a|a)" * 30 + "b",
    "options in a row": "a?" * 40 + "a" * 40,
    "repetitions in a row": "a*a*a*a*b",
    "repetitions of some": "(a{0,9}){0,9}b",
    "braces with a plus": "a{1,30}+b",
    "reference": r"(a)\1*b",
    "call": r"(a\g<1>?)",
    "ahead": "(?=(a+)+b)",
    "after a set with brackets": r"[[a]\]](a+)+b",
    "between comments": "(?#[)(a+)+b(?#])",
    "in a pattern with comments": "(?x)#[\n(a+)+b#]",
    "in a group with comments": "(?x:#[\n(a+)+b#]\n)",
}


@pytest.mark.parametrize("name", KNOWN)
def test_patterns_in_use_are_cheap(name: str) -> None:
    assert estimate_cost(KNOWN[name]) < 10**6


@pytest.mark.parametrize("name", [n for n, s in _SPLITTINGS.items() if s.words is not None])
def test_patterns_of_gguf_files_are_cheap(name: str) -> None:
    words = _SPLITTINGS[name].words
    assert words is not None
    assert estimate_cost(words) < 10**6


@pytest.mark.parametrize("name", BOMBS)
def test_bombs_are_expensive(name: str) -> None:
    assert estimate_cost(BOMBS[name]) > 10**6


def write_rules(folder: Path, **parts: Any) -> Path:
    """The tokenizer of a shipped model, with other steps."""
    for path in MODEL.glob("*tok*"):
        shutil.copy(path, folder)
    path = folder / "tokenizer.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | parts))
    return path


def test_shipped_tokenizers_are_taken() -> None:
    for path in MODEL.parent.glob("*/tokenizer.json"):
        check_rules(path)


def make_replace(old: str, new: str, kind: str = "String") -> dict[str, Any]:
    return {"type": "Replace", "pattern": {kind: old}, "content": new}


TABLE = base64.b64encode((4).to_bytes(4, "little") + bytes(4) + b"x" * 5000 + b"\0").decode()
GROWING = {
    "replacements": [make_replace("a", "a" * 100)] * 3,
    "of nothing": [make_replace("", "a" * 5000)],
    "of a pattern of nothing": [make_replace("a*", "a" * 5000, "Regex")],
    "prepended": [{"type": "Prepend", "prepend": "aa"}] * 8,
    "bytes of bytes": [{"type": "ByteLevel"}] * 7,
    "a table": [{"type": "Precompiled", "precompiled_charsmap": TABLE}],
}


@pytest.mark.parametrize("name", GROWING)
def test_steps_that_make_a_text_very_long(tmp_path: Path, name: str) -> None:
    steps = {"type": "Sequence", "normalizers": GROWING[name]}
    write_rules(tmp_path, normalizer=steps)
    with pytest.raises(ModelError, match=r"times as long.*--trust-remote-code"):
        read_tokenizer(str(tmp_path), {})


def test_many_steps(tmp_path: Path) -> None:
    steps = {"type": "Sequence", "pretokenizers": [{"type": "WhitespaceSplit"}] * 101}
    with pytest.raises(ModelError, match="101 steps"):
        check_rules(write_rules(tmp_path, pre_tokenizer=steps))


def test_a_bomb_is_refused_at_once_unless_it_is_trusted(tmp_path: Path) -> None:
    split = {"type": "Split", "pattern": {"Regex": "(d+)+!"}, "behavior": "Isolated"}
    write_rules(tmp_path, pre_tokenizer={**split, "invert": False})
    start = time.perf_counter()
    with pytest.raises(ModelError, match=r"pattern '\(d\+\)\+!'.*--trust-remote-code"):
        read_tokenizer(str(tmp_path), {})
    assert time.perf_counter() - start < 5
    assert read_tokenizer(str(tmp_path), {"trust_remote_code": True}) is not None


def test_a_pattern_that_gives_up_is_an_error() -> None:
    backend = Tokenizer(WordLevel({"a": 0, "<unk>": 1}, unk_token="<unk>"))  # noqa: S106
    backend.pre_tokenizer = pre_tokenizers.Split(Regex("(a|a)*b"), "isolated")  # pyright: ignore[reportAttributeAccessIssue]
    tokenizer = OurTokenizer(PreTrainedTokenizerFast(tokenizer_object=backend))
    with pytest.raises(ModelError, match="gave up on 'aaa"):
        tokenizer.encode("a" * 60 + "c" + "b")
