"""Every reader holds against a few damaged files; the tool tries many."""

from __future__ import annotations

import importlib.util
import random
import sys
from pathlib import Path
from types import ModuleType

import pytest

PATH = Path(__file__).resolve().parent.parent.parent / "tools" / "fuzz.py"
spec = importlib.util.spec_from_file_location("fuzz", PATH)
assert spec is not None
assert spec.loader is not None
fuzz: ModuleType = importlib.util.module_from_spec(spec)
sys.modules["fuzz"] = fuzz
spec.loader.exec_module(fuzz)
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
    first = [fuzz.mutate(content, random.Random(seed)) for seed in range(20)]  # noqa: S311
    again = [fuzz.mutate(content, random.Random(seed)) for seed in range(20)]  # noqa: S311
    assert first == again
    assert sum(mutated != content for mutated in first) > 15
