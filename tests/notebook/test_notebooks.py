"""The notebooks of the docs on shipped models: they run, and show what they say."""

from __future__ import annotations

import json
import os
from pathlib import Path

import jax
import pytest

from tests.notebooks import FOLDER, Run, list_warnings, run_notebook


def run(name: str, folder: Path, results: str) -> Run:
    """Compiled as tests are, with what other tests have compiled."""
    cache = {
        "JAX_COMPILATION_CACHE_DIR": str(jax.config.jax_compilation_cache_dir),  # pyright: ignore[reportAttributeAccessIssue]
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.2",
    }
    ran = run_notebook(name, folder, results, {**os.environ, **cache})
    assert list_warnings(ran) == []
    return ran


def test_find_a_circuit(tmp_path: Path) -> None:
    results = "[circuit.edges, evaluation.faithfulness.mean, [len(c) for c in curve.circuits], "
    ran = run("find-a-circuit", tmp_path, results + "sorted(shared.edges)]")
    edges, faithfulness, sizes, shared = ran.results
    path = ["embed->a0.h3<v>", "embed->a1.h6<q>", "a0.h3->a1.h6<k>", "embed->a1.h6<v>"]
    assert edges == [*path, "a1.h6->logits"]
    assert faithfulness > 0.8
    assert sizes == sorted(sizes, reverse=True)
    assert shared == sorted(edges)
    assert "2 of 8 heads" in ran.html("import circuitgraph")
    assert "5 of 257 edges" in ran.html("circuit =")
    assert "\racdc: 100%" in ran.text("circuit =")
    assert "a1.h6" in ran.html("heads =")
    assert "faithfulness of the circuit" in ran.html("evaluation =")
    assert "whole model" in ran.html("curve =")
    assert [path.name for path in tmp_path.iterdir() if path.stem == "induction"]


def test_your_model_and_pairs(tmp_path: Path) -> None:
    results = "[len(circuit), accuracy.circuit.mean, evaluation.faithfulness.mean, "
    ran = run("your-model-and-pairs", tmp_path, results + "again == circuit]")
    size, accuracy, faithfulness, same = ran.results
    assert 1 < size < 60
    assert accuracy > 0.9
    assert faithfulness > 0.5
    assert same
    assert "noun" in ran.html("attention =")
    assert "['The', " in ran.text("model =")


def test_refute_a_hypothesis(tmp_path: Path) -> None:
    results = "[held.outcome, held.recovered.mean, wrong.outcome, wrong.recovered.mean]"
    ran = run("refute-a-hypothesis", tmp_path, results)
    outcome, recovered, other, others = ran.results
    assert (outcome, other) == ("held", "refuted")
    assert recovered > 0.8 > 0.2 > others
    assert "the harshest first" in ran.html("[hypothesis] =")
    assert "it_is_always_certain" in ran.text("import subprocess")


@pytest.mark.parametrize("file", sorted(FOLDER.glob("*.ipynb")), ids=lambda file: file.stem)
def test_notebooks_are_stored_without_outputs(file: Path) -> None:
    cells = json.loads(file.read_text())["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert code
    assert [cell["outputs"] for cell in code] == [[]] * len(code)
    assert {cell["execution_count"] for cell in code} == {None}
