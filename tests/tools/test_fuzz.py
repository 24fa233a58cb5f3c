"""Every reader holds against a few damaged files; the tool tries many."""

from __future__ import annotations

import importlib
import json
import random
import sys
from pathlib import Path
from typing import Any

import pytest

TOOLS = str(Path(__file__).resolve().parents[2] / "tools")
sys.path.insert(0, TOOLS)
try:
    fuzz: Any = importlib.import_module("fuzz")
    mutations: Any = importlib.import_module("mutations")
finally:
    sys.path.remove(TOOLS)
READERS = {reader.name: reader for reader in fuzz.list_readers()}


@pytest.mark.filterwarnings("ignore")  # of libraries, about damaged files
@pytest.mark.parametrize("name", READERS)
def test_a_damaged_file_is_read_or_refused(name: str) -> None:
    outcome = fuzz.run_reader(READERS[name], 12, seed=0)
    assert outcome.holes == []
    assert outcome.counts["refused"] > 0
    assert outcome.counts.total() == 12


def test_a_hole_is_seen(tmp_path: Path) -> None:
    def read(folder: Path) -> None:
        if (folder / "x").read_bytes() != b"{}":
            raise KeyError("x")

    reader = fuzz.Reader("bad", "x", lambda folder: (folder / "x").write_bytes(b"{}"), read)
    outcome = fuzz.run_reader(reader, 5, seed=0)
    assert "KeyError" in outcome.holes[0]


def test_mutations_repeat_with_their_seed_and_change_something() -> None:
    content = b'{"a": [1, 2, {"b": "c"}], "d": 0.5}'
    first = [mutations.mutate(content, random.Random(seed)) for seed in range(20)]  # noqa: S311
    again = [mutations.mutate(content, random.Random(seed)) for seed in range(20)]  # noqa: S311
    assert first == again
    assert sum(mutated != content for mutated in first) > 15


def test_a_header_keeps_its_length_right() -> None:
    content = (10).to_bytes(8, "little") + b'{"a": "b"}' + b"numbers"
    for seed in range(10):
        changed = mutations.change_header(content, random.Random(seed))  # noqa: S311
        length = int.from_bytes(changed[:8], "little")
        json.loads(changed[8 : 8 + length])
        assert changed[8 + length :] == b"numbers"


def test_numbers_of_gguf_are_changed_one_at_a_time(tmp_path: Path) -> None:
    READERS["GGUF, gpt2"].make(tmp_path)
    content = (tmp_path / "x.gguf").read_bytes()
    places = set()
    for seed in range(60):
        changed = mutations.change_gguf(content, random.Random(seed))  # noqa: S311
        assert len(changed) == len(content)
        different = [
            i for i, pair in enumerate(zip(content, changed, strict=True)) if len({*pair}) > 1
        ]
        assert not different or max(different) - min(different) < 8
        places |= {*different[:1]}
    assert len(places) > 20
