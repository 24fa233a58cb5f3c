"""Shipped hypotheses hold; wrong files are refuted, each by the claim that its docstring names."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.users import circuitgraph

FOLDER = Path(__file__).parent / "wrong"
SHIPPED = Path(__file__).parents[2] / "hypotheses"
REFUTED_BY = "Refuted by: "


def claims_of(*arguments: str | Path) -> tuple[int, dict[tuple[str, str], dict[str, str]]]:
    """The exit status of ``circuitgraph test``, and each claim by file and name."""
    ran = circuitgraph("test", "--json", "--profile", "ci", *arguments)
    claims = json.loads(ran.stdout)["claims"]
    return ran.returncode, {(Path(claim["file"]).name, claim["claim"]): claim for claim in claims}


@pytest.mark.slow
def test_each_wrong_hypothesis_is_refuted_by_what_its_docstring_says() -> None:
    files = sorted(FOLDER.glob("*.py"))
    status, claims = claims_of(FOLDER, "--prompts", "500")
    assert len(files) >= 9
    assert status == 2  # some cannot even be tested
    for file in files:
        name = next(line for line in file.read_text().splitlines() if line.startswith(REFUTED_BY))
        claim = claims[file.name, name.removeprefix(REFUTED_BY)]
        assert claim["verdict"] == ("error" if claim["claim"] == "program" else "refuted"), claim


@pytest.mark.slow
def test_each_shipped_hypothesis_holds() -> None:
    status, claims = claims_of(SHIPPED, "--prompts", "1000")
    assert [claim for claim in claims.values() if claim["verdict"] != "held"] == []
    assert status == 0
    files = sorted(file.name for file in SHIPPED.glob("*.py"))
    assert files == ["addition.py", "greater_than.py", "induction.py", "ioi.py", "ioi_natural.py"]
    for file in files:
        kinds = {claim.partition("[")[0] for name, claim in claims if name == file}
        assert kinds >= {"program", "expect", "scrub", "rival"}
        assert kinds & {"holds", "never", "property"}
