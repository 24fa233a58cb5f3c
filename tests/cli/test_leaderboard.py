"""``circuitgraph leaderboard``: a table on stdout, cells in a folder, and usage errors before
anything runs.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import Ran, files_below

ASKED = (
    "leaderboard",
    "--task",
    "induction",
    "--model",
    "induction-2l",
    "--algorithm",
    "random",
    "--bootstraps",
    "0",
)


def test_table_markdown_and_cells(run: Callable[..., Ran]) -> None:
    ran = run(*ASKED, "--limit", "4", "--judging-limit", "4", "--markdown", "board.md")
    assert ran.code == 0
    assert "induction in induction-2l" in ran.out
    assert "random" in ran.out
    assert Path("runs/leaderboard/induction/induction-2l/random.json").is_file()
    assert Path("board.md").read_text().startswith("# Leaderboard")
    again = json.loads(run(*ASKED, "--limit", "4", "--judging-limit", "4", "--json").out)
    assert [cell["question"]["algorithm"] for cell in again] == ["random"]
    assert again[0]["score"]["graph_edges"] == 257


BAD = {
    "algorithm": (("--algorithm", "acdcc"), "Unknown algorithm 'acdcc'"),
    "task": (("--task", "inductoin"), "'induction'"),
    "model": (("--model", "gpt2"), "No model 'gpt2' knows any of these tasks"),
    "ablation": (("--ablation", "resampl"), "'resample'"),
    "bootstraps": (("--bootstraps", "1"), "must be 0 or at least 2"),
    "limit": (("--limit", "0"), "at least 1"),
}


@pytest.mark.usefixtures("no_model")
@pytest.mark.parametrize("case", BAD)
def test_usage_errors_come_first(run: Callable[..., Ran], case: str) -> None:
    args, phrase = BAD[case]
    ran = run("leaderboard", *args)
    assert (ran.code, ran.out) == (2, "")
    assert phrase in ran.err
    assert files_below(Path()) == set()
