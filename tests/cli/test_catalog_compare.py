"""``circuitgraph catalog compare``: which circuits it takes, what it shows and refuses."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from circuitgraph.catalog.files import load_circuit, save_circuit
from circuitgraph.graph.circuit import Circuit
from circuitgraph.graph.random_circuits import RandomCircuits
from tests.cli.conftest import Ran


@pytest.fixture
def shelf(tmp_path: Path, finished: tuple[Path, Ran]) -> Path:
    """A search's circuit under two names, and a random one, at several depths."""
    stored = load_circuit(finished[0])
    other = RandomCircuits(stored.graph).draw_circuit(30, np.random.default_rng(0))
    for place, circuit in (
        ("mine/one/acdc", stored),
        ("mine/two/acdc", stored),
        ("mine/deep/er/three/acdc", Circuit(stored.graph, other.mask)),
    ):
        save_circuit(replace(circuit, provenance=stored.provenance), tmp_path / place)
    return tmp_path / "mine"


def test_all_circuits_below_a_folder(run: Callable[..., Ran], shelf: Path) -> None:
    ran = run("catalog", "compare", shelf, "--json", "--draws", 39)
    assert ran.code == 0
    record = json.loads(ran.out)
    assert [each["name"] for each in record["circuits"]] == ["deep/er/three", "one", "two"]
    overlaps = [pair["edges"]["jaccard"] for pair in record["pairs"]]
    assert overlaps[2] == 1.0
    assert overlaps[0] == overlaps[1] < 1


def test_tables_and_what_all_share(
    run: Callable[..., Ran], shelf: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    ran = run("catalog", "compare", shelf / "one", shelf / "two/acdc/circuit.json", "--draws", 39)
    assert (ran.code, ran.err) == (0, "")
    assert "Edges, beside random circuits of whole paths" in ran.out
    assert "In all circuits of induction-2l: a0.h" in ran.out


def test_refusals(run: Callable[..., Ran], shelf: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    ran = run("catalog", "compare", shelf, "empty")
    assert (ran.code, ran.out) == (2, "")
    assert "'empty' holds no circuit.json, at any depth" in ran.err
    ran = run("catalog", "compare", shelf / "one")
    assert (ran.code, ran.out) == (2, "")
    assert "number of circuits is 1, but must be at least 2" in ran.err
