"""The scrubbing benchmark runs from end to end, and both ways that it times compute the same."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.users import python

BENCH = Path(__file__).resolve().parents[2] / "tools" / "bench" / "scrubbing.py"


@pytest.mark.slow
def test_ours_and_the_plain_way_agree(tmp_path: Path) -> None:
    run = python(BENCH, "--prompts", "60", "--references", "3", "--repeats", "1", cwd=tmp_path)
    assert run.returncode == 0, run.stderr[-2000:]
    found = json.loads(run.stdout)
    assert found["largest_difference"] < 1e-3
    # so few prompts are mostly their own donors, so that no exchange of variables is a null
    assert found["trees"] == 20
