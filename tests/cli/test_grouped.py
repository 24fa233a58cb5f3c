"""The whole way with key-value heads as single readers: search, judge again, draw."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from circuitgraph.models.loading import shipped_models
from tests.cli.conftest import Ran
from tests.parity.cases import CASES
from tests.parity.harness import save_random

WORDS = (
    "apple",
    "arm",
    "bag",
    "ball",
    "bank",
    "bear",
    "bed",
    "bell",
    "bird",
    "boat",
    "book",
    "box",
)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A random grouped-query model that reads the words of a shipped one."""
    sizes = {"num_hidden_layers": 1, "vocab_size": 98}
    folder = save_random(tmp_path / "model", "llama", **CASES["llama"] | sizes)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(shipped_models()["induction-2l"] / name, folder)
    return folder


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Pairs of prompts of three words."""
    pairs = [
        {"clean": f"{a} {b} {a}", "corrupted": f"{b} {c} {b}", "answer": b, "distractor": c}
        for a, b, c in zip(WORDS, WORDS[1:] + WORDS[:1], WORDS[2:] + WORDS[:2], strict=True)
    ]
    path = tmp_path / "pairs.jsonl"
    path.write_text("\n".join(map(json.dumps, pairs)))
    return path


def test_discover_evaluate_and_render(run: Callable[..., Ran], model: Path, data: Path) -> None:
    ran = run(
        "discover",
        "--model",
        model,
        "--data",
        data,
        "--grouped",
        "--threshold",
        0.05,
        "--out",
        "found",
        "--json",
    )
    assert ran.code == 0, ran.err
    found = json.loads(ran.out)
    # Four queries, two keys and two values of the embedding; one MLP that reads five writers, and
    # logits that read six.
    assert (found["graph"]["n_heads"], found["graph"]["n_kv_heads"], found["graph"]["n_edges"]) == (
        4,
        2,
        8 + 5 + 6,
    )
    assert 0 < found["algorithm"]["n_tested"] <= 19
    edges = {edge["edge"] for edge in found["edges"]}
    assert {edge for edge in edges if "<k>" in edge or "<v>" in edge} <= {
        f"embed->a0.kv{group}<{letter}>" for group in range(2) for letter in "kv"
    }
    assert any("kv" in edge for edge in edges)
    ran = run("evaluate", "found", "--json")
    assert ran.code == 0, ran.err
    again = json.loads(ran.out)
    assert found["evaluation"].items() <= again.items()
    assert run("render", "found", "-o", "picture.dot").code == 0
    picture = Path("picture.dot").read_text()
    for edge in edges:  # a key-value head is drawn at each head that reads it
        assert picture.count(f'tooltip="{edge}:') == (2 if "kv" in edge else 1)


def test_a_dry_run_counts_the_grouped_edges(
    run: Callable[..., Ran], model: Path, data: Path
) -> None:
    for flag, n_edges in (((), 12 + 5 + 6), (("--grouped",), 8 + 5 + 6)):
        ran = run("discover", "--model", model, "--data", data, "--dry-run", "--json", *flag)
        assert json.loads(ran.out)["edges"] == n_edges, ran.err
