"""What a notebook shows at the end of a cell, whatever is in it and whatever is broken."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from IPython.core.formatters import DisplayFormatter
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from circuitgraph.catalog.analysis_record import (
    HeatmapRecord,
    Reading,
    TableRecord,
    TextRecord,
    TextsRecord,
)
from circuitgraph.catalog.judgement_record import JudgementRecord
from circuitgraph.catalog.records import EvaluationRecord, Interval, Record
from circuitgraph.graph.circuit import Circuit
from circuitgraph.graph.graph import Graph
from circuitgraph.models.language_model import LanguageModel
from circuitgraph.notebook.parts import draw_part
from circuitgraph.printable import make_printable
from circuitgraph.showable import Showable, pictures

needs_dot = pytest.mark.skipif(shutil.which("dot") is None, reason="Graphviz is not installed")
HOSTILE = "<script>alert(1)</script>\"'&\n\x1b[31m\u202e😀[bold]"
MEAN = Interval(mean=1.0, low=0.5, high=1.5)


def show(thing: object) -> str:
    """What a notebook shows of it, put there by IPython itself; well-formed, without scripts."""
    shown, _ = DisplayFormatter().format(thing)
    html = shown["text/html"]
    assert "No picture" not in html
    page = parse(html)
    assert [tag for tag in page.iter() if tag.tag.endswith("script")] == []
    return html


def parse(html: str) -> ElementTree.Element:
    return ElementTree.fromstring(f"<body>{html}</body>")  # noqa: S314


def read_text(html: str) -> str:
    """All that a person reads of it, without markup."""
    return "".join(parse(html).itertext())


def make_circuit(n: int, graph: Graph | None = None, task: str = "ioi") -> Circuit:
    graph = graph or Graph(2, 2)
    chosen = Circuit.random(graph, n, np.random.default_rng(0))
    scores = np.arange(1.0, graph.n_edges + 1)
    return Circuit(graph, chosen.mask, scores, None, {"task": {"name": task}, "metric": "kl"})


def make_evaluation(metric: str = "kl") -> EvaluationRecord:
    means = dict.fromkeys(("full", "empty", "circuit", "faithfulness", "random_faithfulness"), MEAN)
    facts = {"ablation": "resample", "split": "evaluation", "seed": 0, "prompts_sha256": ""}
    return EvaluationRecord(metric=metric, n_prompts=7, n_random=20, **facts, **means)


def make_reading(name: str) -> Reading:
    heatmap = HeatmapRecord(
        title=name,
        unit=name,
        row_axis=name,
        column_axis=name,
        row_labels=[name],
        column_labels=[name],
        values=[[1.0]],
    )
    texts = TextsRecord(title=name, unit="", texts=[TextRecord(tokens=[name], values=[1.0])])
    table = TableRecord(title=name, columns=[name, "effect"], rows=[[name, MEAN]])
    return Reading(tables=[table], pictures=[heatmap, texts], notes=[name])


@needs_dot
def test_a_circuit_is_a_drawing_with_its_edges_below() -> None:
    circuit = make_circuit(5)
    html = show(circuit)
    assert html.count("<svg") == 1
    tips = {tag.get("{http://www.w3.org/1999/xlink}title", "") for tag in parse(html).iter()}
    assert {tip.partition(": ")[0] for tip in tips} - {""} >= set(circuit.edges)
    assert [edge for edge in circuit.edges if edge not in read_text(html)] == []
    assert f"5 of {circuit.graph.n_edges} edges" in html


@needs_dot
def test_a_huge_circuit_says_how_much_of_it_is_not_drawn() -> None:
    html = show(make_circuit(5_000, Graph(12, 12)))
    assert "the 4,900 weakest edges and" in html
    assert html.count('class="edge"') <= 100 + 12 * 2 + 2


@pytest.mark.parametrize("broken", ["absent", "failing", "slow"])
def test_a_broken_graphviz_leaves_the_matrix_and_the_edges(
    broken: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dot = tmp_path / "dot"
    scripts = {"failing": "echo '<b>bad' >&2; exit 3", "slow": "while :; do :; done"}
    if broken in scripts:
        dot.write_text(f"#!/bin/sh\n{scripts[broken]}\n")
        dot.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("circuitgraph.notebook.circuits._SECONDS", 0.2)
    circuit = make_circuit(5)
    html = show(circuit)
    reasons = {"absent": "is not installed", "failing": "&lt;b&gt;bad", "slow": "within 0.2 s"}
    assert reasons[broken] in html
    assert [edge for edge in circuit.edges if edge not in read_text(html)] == []
    assert "layer 1" in read_text(html), "the matrix stands in for the drawing"


def test_models_graphs_and_results_are_tables(shipped: LanguageModel) -> None:
    model = show(shipped)
    assert "2 of 8 heads of size 16" in model
    assert "32,491" in show(Graph(12, 12))
    assert f"{Graph(2, 2).n_edges:,}" in show(Graph(2, 2))
    evaluation = make_evaluation()
    assert "faithfulness of the circuit" in show(evaluation)
    judgement = JudgementRecord(**dict(evaluation), metrics=[])
    assert "0.500 .. 1.500" in show(judgement)


def test_readings_show_tables_texts_and_pictures() -> None:
    html = show(make_reading("a head"))
    assert "1.000 [0.500, 1.500]" in html
    assert re.search(r'src="data:image/png;base64,iVBOR\w', html)


def test_without_matplotlib_a_reading_says_what_is_missing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    html = show(make_reading("a head"))
    assert "circuitgraph-interp[plots]" in html
    assert "a head" in html


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda name: make_circuit(5, task=name), marks=needs_dot),
        make_evaluation,
        make_reading,
    ],
)
def test_names_of_others_are_text(make: object) -> None:
    assert callable(make)
    html = show(make(HOSTILE))
    assert "<script" not in html
    assert "\x1b" not in html
    assert "alert(1)" in html


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30))
def test_whatever_stands_in_a_report_is_text(text: str) -> None:
    table = Table(title=text)
    table.add_column(text)
    table.add_row(text)
    tree = Tree(text)
    tree.add(Text(text))
    spaces = str.maketrans("", "", " \n\t\r\x0b\x0c\x1c\x1d\x1e\x1f\x85\u2028\u2029")
    for part, n in ((table, 3), (tree, 2), (Text(text, "bold"), 1)):
        shown = read_text(draw_part(part)).translate(spaces)
        expected = make_printable(text, keep="\n").translate(spaces)
        if text.isprintable():
            assert shown == expected * n
        assert shown.isprintable() or "\n" in text


@dataclass(frozen=True)
class Broken(Showable):
    """Something whose picture, and whose text, cannot be made."""

    def __repr__(self) -> str:
        raise RuntimeError("no text")


def test_a_picture_that_fails_says_why_in_place_of_raising() -> None:
    def fail(thing: object) -> str:
        raise RuntimeError(f"<script> of {type(thing).__name__}")

    pictures.add("Broken", fail)
    html = Broken()._repr_html_()
    assert html is not None
    assert "RuntimeError: &lt;script&gt; of Broken" in html


def test_a_class_without_a_picture_shows_its_text() -> None:
    class PlainRecord(Record):
        number: int

    shown, _ = DisplayFormatter().format(PlainRecord(number=3))
    assert set(shown) == {"text/plain"}
    assert "number=3" in shown["text/plain"]


def test_showing_a_circuit_loads_no_array_library() -> None:
    code = (
        "import sys, circuitgraph as cg; cg.Circuit.full(cg.Graph(1, 1))._repr_html_(); "
        "print([name for name in ('jax', 'torch', 'matplotlib') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "[]\n", "")
