"""The commands of docs/catalog.md do what the page says."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest

from circuitgraph.catalog.store import Catalog
from tests.cli.conftest import Ran

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "catalog.md").read_text()
ADD, SEARCH = (block.splitlines() for block in re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL))


def run_line(run: Callable[..., Ran], line: str) -> Ran:
    """A line of a shell, which may send its output to a file."""
    words, _, file = line.partition(" > ")
    _, *arguments = shlex.split(words)
    ran = run(*(str(ROOT / word) if word.startswith("hypotheses/") else word for word in arguments))
    if file:
        Path(file).write_text(ran.out)
    return ran


def test_a_circuit_is_shared_as_the_page_says(
    run: Callable[..., Ran], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CIRCUITGRAPH_CATALOG", raising=False)
    for line in ADD:
        ran = run_line(run, line)
        assert ran.code == 0, f"{line}: {ran.err}"
    entry = Catalog(tmp_path / "my-circuits").get("induction-2l/induction/acdc")
    evidence = {each.kind: each.verdict for each in entry.read_evidence()}
    assert evidence == {"analysis": None, "scrub": "held"}
    folder = tmp_path / "my-circuits" / str(entry)
    printed = json.loads((tmp_path / "judgement.json").read_text())
    assert json.loads((folder / "judgement.json").read_text()) == printed
    files = {path.name for path in folder.iterdir()}
    assert {"circuit.json", "scores.safetensors", "judgement.json", "evidence", "card.md"} <= files
    for name in re.findall(r"^\| `([a-z.]+)`", PAGE, re.MULTILINE):
        assert name in files or name == "data"


@pytest.mark.parametrize("line", SEARCH)
def test_searches_of_the_page_find_something(run: Callable[..., Ran], line: str) -> None:
    ran = run_line(run, line)
    assert ran.code == 0
    assert len(ran.out.splitlines()) >= 2
