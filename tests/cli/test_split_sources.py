"""``--split-sources``: what reaches a search, is stored, drawn and judged again, and is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from circuitgraph.catalog.files import load_circuit
from circuitgraph.graph.head_split import HeadSplit
from tests.cli.conftest import call

SEARCH = ("discover", "ioi", "--limit", 8, "--algorithm", "eap", "--n-edges", 12)


def test_a_head_in_parts_is_in_the_stored_circuit(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    ran = call(*SEARCH, "--split-sources", "a2.h2:IO,S1", "--out", folder, "--json")
    assert ran.code == 0, ran.err
    record = json.loads(ran.out)
    assert record["graph"]["head_splits"] == [{"head": 2, "layer": 2, "sources": ["IO", "S1"]}]
    assert record["schema_version"] == 3
    effects = {edge["edge"]: edge["effect"] for edge in record["edges"]}
    parts = {edge: effect for edge, effect in effects.items() if edge.startswith("a2.h2[")}
    assert max(parts, key=lambda edge: parts[edge]) == "a2.h2[IO]->logits"
    circuit = load_circuit(folder)
    assert circuit.graph.head_splits == (HeadSplit(2, 2, ("IO", "S1")),)
    drawing = (folder / "circuit.dot").read_text()
    assert '-> "a2.h2[IO]":v' in drawing
    page = call("render", folder, "--out", tmp_path / "page.html")
    assert page.code == 0, page.err


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("m0:IO", "m0 is no head"),
        ("a1.h6:", "cannot name a source"),
        ("a2.h2:XX", "Unknown role of these prompts 'XX'"),
        ("a7.h6:IO", "Unknown writer 'a7.h6'"),
    ],
)
def test_heads_that_cannot_be_cut_are_refused(tmp_path: Path, text: str, message: str) -> None:
    ran = call(*SEARCH, "--split-sources", text, "--out", tmp_path / "run")
    assert ran.code == 2
    assert message in " ".join(ran.err.split())
    assert not (tmp_path / "run").exists()
