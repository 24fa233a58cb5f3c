"""The patching benchmark runs from end to end."""

from __future__ import annotations

from pathlib import Path

from tools.bench.patching import measure_patching


def test_a_tiny_model_is_patched_everywhere(tmp_path: Path) -> None:
    table = measure_patching(tmp_path, tiny=True)
    assert list(table.columns[0].cells) == ["12"]  # before both layers and after, four positions
