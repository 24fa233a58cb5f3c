"""The search benchmark runs from end to end; on a tiny model, of which it measures nothing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.users import python

BENCH = Path(__file__).resolve().parents[2] / "tools" / "bench" / "search.py"


@pytest.mark.slow
def test_the_search_has_its_numbers(tmp_path: Path) -> None:
    """The torch loop decides every edge as the frontier does, or the tool fails."""
    options = ["--tiny", "--only", "A", "--metrics", "kl", "--markdown", "--json", "figures.json"]
    run = python(BENCH, *options, cwd=tmp_path)
    assert run.returncode == 0, run.stderr[-2000:]
    (acdc,) = json.loads((tmp_path / "figures.json").read_text())
    assert acdc["torch_hooks"]["whole"]
    assert acdc["frontier"]["complete"]
    assert (
        0
        < acdc["frontier"]["kept"]
        < acdc["frontier"]["tested"]
        <= acdc["frontier"]["counts"]["rows"]
    )
    assert run.stdout.count("tiny, no measurement") >= 1
