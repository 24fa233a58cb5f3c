"""``circuitgraph render``: every format, and everything that can be wrong with a drawing."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from circuitgraph.catalog.files import load_circuit, save_circuit
from circuitgraph.graph.circuit import Circuit
from circuitgraph.graph.graph import Graph
from tests.cli.conftest import Ran, files_below

needs_dot = pytest.mark.skipif(shutil.which("dot") is None, reason="Graphviz is not installed")


@pytest.fixture
def stored(tmp_path: Path) -> Path:
    """A stored circuit, of which one edge leads nowhere."""
    graph = Graph(2, 2, mlp=False)
    mask = Circuit.of(
        graph, ["embed->a0.h1<v>", "a0.h1->a1.h0<k>", "a1.h0->logits", "embed->a1.h1<q>"]
    ).mask
    return save_circuit(Circuit(graph, mask, np.where(mask, 0.5, 0.0)), tmp_path / "mine")


@needs_dot
def test_svg_is_the_default_and_lies_beside_the_circuit(
    run: Callable[..., Ran], stored: Path
) -> None:
    ran = run("render", stored)
    assert (ran.code, ran.out, ran.err) == (0, f"{stored / 'circuit.svg'}\n", "")
    assert ElementTree.parse(stored / "circuit.svg").getroot().tag.endswith("svg")  # noqa: S314


@needs_dot
@pytest.mark.parametrize(
    ("name", "start"), [("a.pdf", b"%PDF"), ("a.png", b"\x89PNG"), ("a.SVG", b"<?xml")]
)
def test_format_is_that_of_the_ending(
    run: Callable[..., Ran], stored: Path, name: str, start: bytes
) -> None:
    assert run("render", stored / "circuit.json", "-o", name, "--quiet") == Ran(0, "", "")
    assert (stored.parent / name).read_bytes().startswith(start)


def test_dot_needs_no_graphviz(
    run: Callable[..., Ran], stored: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "")
    ran = run("render", stored, "-o", "new/a.dot", "--json")
    assert (ran.code, ran.err) == (0, "")
    assert json.loads(ran.out) == {"picture": "new/a.dot"}
    assert "a0.h1" in (stored.parent / "new" / "a.dot").read_text()


def test_without_graphviz_dot_is_written(
    run: Callable[..., Ran], stored: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "")
    ran = run("render", stored, "-o", "a.svg")
    assert (ran.code, ran.out) == (1, "a.dot\n")
    assert "Graphviz is not installed" in ran.err
    assert (stored.parent / "a.dot").is_file()
    assert not (stored.parent / "a.svg").exists()


def test_prune_leaves_out_what_leads_nowhere(run: Callable[..., Ran], stored: Path) -> None:
    assert run("render", stored, "-o", "all.dot", "-q").code == 0
    assert run("render", stored, "-o", "path.dot", "-q", "--prune").code == 0
    assert "a1.h1" in (stored.parent / "all.dot").read_text()
    assert "a1.h1" not in (stored.parent / "path.dot").read_text()


@pytest.mark.parametrize(
    ("out", "phrases"),
    [
        ("a.sgv", ["Unknown picture format 'sgv'", "'svg'"]),
        ("a", ["Unknown picture format ''", "dot, pdf, png, svg"]),
        ("file/a.dot", ["'file/a.dot' cannot be written", "Choose another"]),
        ("/proc/a.dot", ["'/proc/a.dot' cannot be written", "Choose another"]),
        ("/dev/null/a/b.dot", ["'/dev/null/a/b.dot' cannot be written", "Choose another"]),
        ("folder.dot", ["'folder.dot' cannot be written", "directory"]),
        (f"{'x' * 260}.dot", ["cannot be written: File name too long"]),
    ],
)
def test_picture_that_cannot_be_written(
    run: Callable[..., Ran], stored: Path, out: str, phrases: list[str]
) -> None:
    (stored.parent / "file").write_text("")
    (stored.parent / "folder.dot").mkdir()
    before = files_below(stored.parent)
    ran = run("render", stored, "-o", out)
    assert (ran.code, ran.out) == (2, "")
    assert [phrase for phrase in phrases if phrase not in ran.err] == [], ran.err
    assert files_below(stored.parent) == before


@pytest.mark.parametrize(
    ("old", "new", "phrase"),
    [
        ("{", "", "cannot be read as JSON"),
        ('"edges"', '"egdes"', "egdes: Extra inputs are not permitted"),
        ('"schema_version": 1', '"schema_version": 99', "schema version 99"),
        ("a1.h0->logits", "a1.h9->logits", "Unknown writer 'a1.h9'"),
        ("a1.h0->logits", "a1.h1->logits", "keep different edges"),
        ('"effect": 0.5', '"effect": 0.25', "give different effects"),
        ('"effect": 0.5', '"effect": NaN', "finite number"),
        ('"n_edges": 29', '"n_edges": 30', "5 writers, 13 readers and 29 edges"),
        ('"n_layers": 2', '"n_layers": 0', "n_layers is 0"),
    ],
)
def test_damaged_circuit(
    run: Callable[..., Ran], stored: Path, old: str, new: str, phrase: str
) -> None:
    file = stored / "circuit.json"
    assert old in file.read_text()
    file.write_text(file.read_text().replace(old, new, 1))
    ran = run("render", stored)
    assert (ran.code, ran.out) == (2, "")
    assert phrase in ran.err
    assert str(file) in ran.err
    assert files_below(stored) == {"circuit.json", "scores.safetensors"}


def test_json_alone_keeps_the_effects(run: Callable[..., Ran], stored: Path) -> None:
    (stored / "scores.safetensors").unlink()
    circuit = load_circuit(stored)
    assert circuit.scores is not None
    assert circuit.scores[circuit.mask].tolist() == [0.5] * 4
    assert run("render", stored, "-o", "a.dot").code == 0
    assert ": 0.5" in (stored.parent / "a.dot").read_text()


def test_types_of_heads_stand_in_the_drawing(run: Callable[..., Ran], tmp_path: Path) -> None:
    """The circuit of the shipped model: a previous-token head and an induction head."""
    folder = Path(__file__).parents[2] / "catalog/circuits/induction-2l/induction/acdc"
    ran = run("render", folder, "--head-types", "-o", "a.dot", "-q")
    assert (ran.code, ran.err) == (0, "")
    drawn = (tmp_path / "a.dot").read_text()
    assert "a0.h3<BR/>previous-token<" in drawn
    assert "a1.h6<BR/>induction<" in drawn


def test_types_of_heads_need_the_model(run: Callable[..., Ran], stored: Path) -> None:
    ran = run("render", stored, "--head-types", "-o", "a.dot")
    assert (ran.code, ran.out) == (2, "")
    assert "This circuit names no model" in ran.err
    shutil.rmtree(stored)
    source = Path(__file__).parents[2] / "catalog/circuits/induction-2l/induction/acdc"
    shutil.copytree(source, stored)
    file = stored / "circuit.json"
    known = json.loads(file.read_text())["model"]["weights_sha256"]
    file.write_text(file.read_text().replace(known, "0" * 64))
    ran = run("render", stored, "--head-types", "-o", "a.dot")
    assert (ran.code, ran.out) == (2, "")
    assert "The weights of 'induction-2l' changed" in ran.err
    assert "leave out --head-types" in ran.err
    assert not (stored.parent / "a.dot").exists()


def test_views_of_a_circuit(run: Callable[..., Ran], stored: Path) -> None:
    for view, text in (("layers", "a0.h1"), ("matrix", "sum of effects")):
        assert run("render", stored, "-o", f"{view}.dot", "-q", "--view", view).code == 0
        assert text in (stored.parent / f"{view}.dot").read_text()
    assert run("render", stored, "-o", "few.dot", "--most-arrows", "1").code == 0
    assert "the 3 weakest edges" in (stored.parent / "few.dot").read_text()
    ran = run("render", stored, "-o", "a.dot", "--view", "matrix", "--hide-below", "0.1")
    assert (ran.code, "A matrix has no arrows" in ran.err) == (2, True)
    assert not (stored.parent / "a.dot").exists()


def test_roles_of_a_hypothesis_are_names_of_nodes(run: Callable[..., Ran], stored: Path) -> None:
    file = Path(__file__).parents[2] / "hypotheses/induction.py"
    ran = run("render", stored, "--roles", file, "-o", "a.dot")
    assert (ran.code, ran.out) == (0, "a.dot\n")
    assert "Named, but not in the circuit: a0.h3, a1.h6" in ran.err
    source = (stored.parent / "a.dot").read_text()
    assert "earlier @ A1" in source
    assert "previous-token" not in source
