"""The search benchmark runs from end to end; on a tiny model, of which it measures nothing."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCH = Path(__file__).resolve().parents[2] / "tools" / "bench" / "search.py"


@pytest.mark.slow
def test_every_section_has_its_numbers(tmp_path: Path) -> None:
    """The torch loop decides every edge as the frontier does, and scores and values agree, or the tool fails."""
    command = [sys.executable, str(BENCH), "--tiny", "--metrics", "kl", "--markdown", "--json", "figures.json"]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr[-2000:]
    rows = json.loads((tmp_path / "figures.json").read_text())
    assert [row["section"] for row in rows] == ["A", "B", "C", "D"]
    acdc, jit = rows[0], rows[3]
    assert acdc["torch_hooks"]["whole"]
    assert acdc["frontier"]["complete"]
    assert 0 < acdc["frontier"]["kept"] < acdc["frontier"]["tested"] <= acdc["frontier"]["counts"]["rows"]
    assert jit["jit_cold"]["programs"] == jit["jit_warm"]["programs"] > 0
    assert run.stdout.count("tiny, no measurement") == 6
