"""The benchmark of fine-tuning runs from end to end."""

from __future__ import annotations

from pathlib import Path

from tools.bench.fine_tuning import measure_steps


def test_a_tiny_model_is_tuned(tmp_path: Path) -> None:
    table = measure_steps(tmp_path, tiny=True, n_steps=1)
    # a head's queries, keys and values with biases, its output, an MLP of 16 x 64 with biases
    n_head, n_mlp = 3 * (8 * 16 + 8) + 8 * 16, 2 * 16 * 64 + 64 + 16
    assert list(table.columns[1].cells) == ["8,416", f"{n_head + n_mlp:,}"]
