"""The drawing: what is in its DOT text, and that Graphviz accepts it."""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from circuitgraph.drawing import graphviz_output
from circuitgraph.drawing.dot import render, to_dot
from circuitgraph.drawing.graphviz_output import LayoutError
from circuitgraph.errors import ArgumentError, OutputError
from circuitgraph.graph.circuit import Circuit
from circuitgraph.graph.graph import Graph

needs_dot = pytest.mark.skipif(shutil.which("dot") is None, reason="Graphviz is not installed")
EFFECTS = {
    "embed->a0.h1<v>": 1.0,
    "a0.h1->a1.h0<k>": 2.0,
    "embed->m0": 0.25,
    "m0->a1.h0<q>": -0.5,
    "a1.h0->logits": 4.0,
}
FACTS = {
    "task": {"name": "ioi"},
    "model": {"name": "gpt2"},
    "metric": "kl",
    "ablation": "zero",
    "algorithm": {"name": "acdc", "arguments": {"threshold": 0.05}},
}


def circuit_of(effects: dict[str, float], graph: Graph | None = None, **facts: object) -> Circuit:
    graph = graph or Graph(2, 2)
    scores = np.zeros(graph.n_edges)
    for edge, effect in effects.items():
        scores[graph.edge_index(edge)] = effect
    return Circuit(graph, Circuit.of(graph, effects).mask, scores, None, facts)


def edge_lines(source: str) -> dict[str, str]:
    """The line of each drawn edge, by the name of the edge that its tooltip gives."""
    matches = (re.search(r'tooltip="([^":]+)[":]', line) for line in source.splitlines())
    return {match[1]: match.string for match in matches if match}


def width(line: str) -> float:
    return float(re.search(r"penwidth=([\d.]+)", line)[1])  # pyright: ignore[reportOptionalSubscript]


def test_every_node_and_edge_is_drawn_once_and_ends_at_its_input() -> None:
    source = to_dot(circuit_of(EFFECTS)).source
    lines = edge_lines(source)
    assert set(lines) == set(EFFECTS)
    assert '\tembed -> "a0.h1":v ' in lines["embed->a0.h1<v>"]
    assert '\t"a0.h1" -> "a1.h0":k ' in lines["a0.h1->a1.h0<k>"]
    assert "\tembed -> m0 " in lines["embed->m0"]
    assert '\t"a1.h0" -> logits ' in lines["a1.h0->logits"]
    for name in ("embed", '"a0.h1"', "m0", '"a1.h0"', "logits"):
        assert len(re.findall(rf"^\t\t{re.escape(name)} \[label=", source, re.MULTILINE)) == 1
    assert "a0.h0" not in source
    assert "m1" not in source


def test_only_inputs_in_use_are_coloured() -> None:
    node = next(
        line
        for line in to_dot(circuit_of(EFFECTS)).source.splitlines()
        if line.startswith('\t\t"a1.h0" [')
    )
    colours = dict(re.findall(r'PORT="([qkv])" BGCOLOR="(#\w+)"', node))
    assert colours["v"] == "#E4E4E4"
    assert len({colours["q"], colours["k"], colours["v"]}) == 3


def test_inputs_are_told_apart_by_colour() -> None:
    lines = edge_lines(to_dot(circuit_of(EFFECTS)).source)
    colour = {edge: re.search(r'color="(#\w+)"', line)[1] for edge, line in lines.items()}  # pyright: ignore[reportOptionalSubscript]
    kinds = [
        colour["m0->a1.h0<q>"],
        colour["a0.h1->a1.h0<k>"],
        colour["embed->a0.h1<v>"],
        colour["a1.h0->logits"],
    ]
    assert len(set(kinds)) == 4
    assert colour["embed->m0"] == colour["a1.h0->logits"]


def test_width_grows_with_the_size_of_the_effect_and_its_sign_is_shown() -> None:
    lines = edge_lines(to_dot(circuit_of(EFFECTS)).source)
    ranked = sorted(EFFECTS, key=lambda edge: abs(EFFECTS[edge]))
    widths = [width(lines[edge]) for edge in ranked]
    assert widths == sorted(set(widths))
    assert {edge for edge, line in lines.items() if "style=dashed" in line} == {"m0->a1.h0<q>"}
    assert 'label=" -0.5"' in lines["m0->a1.h0<q>"]


def test_edges_without_a_measured_effect_are_plain() -> None:
    circuit = circuit_of(EFFECTS)
    untested = Circuit(
        circuit.graph, circuit.mask, circuit.scores, np.zeros(circuit.graph.n_edges, bool)
    )
    for bare in (untested, Circuit(circuit.graph, circuit.mask)):
        lines = edge_lines(to_dot(bare).source)
        assert {width(line) for line in lines.values()} == {1.2}
        assert not any("label=" in line or "dashed" in line for line in lines.values())


def test_layers_are_ranks_in_the_order_of_the_forward_pass() -> None:
    source = to_dot(circuit_of(EFFECTS)).source
    order = re.findall(r'^\t"(rank-[^"]+)" -> "(rank-[^"]+)" \[style=invis\]', source, re.MULTILINE)
    chain = [order[0][0], *(after for _, after in order)]
    assert chain == ["rank--1-0", "rank-0-0", "rank-0-1", "rank-1-0", "rank-2-0"]
    assert source.count("rank=same") == len(chain)
    for label in ('label="layer 0"', 'label="layer 0 MLP"', 'label="layer 1"'):
        assert label in source


def test_title_and_legend_say_what_is_shown() -> None:
    source = to_dot(circuit_of(EFFECTS, **FACTS)).source
    assert "<B>ioi in gpt2</B>" in source
    n_edges = Graph(2, 2).n_edges
    assert f"5 of {n_edges} edges, acdc, threshold 0.05, kl, zero ablation" in source
    for text in (
        "into query",
        "into key",
        "into value",
        "into MLP or logits",
        "effect on kl",
        "removal helps",
    ):
        assert text in source
    assert "<B>mine</B>" in to_dot(circuit_of(EFFECTS, **FACTS), title="mine").source
    assert "<B>circuit</B>" in to_dot(circuit_of(EFFECTS)).source


def test_crowded_drawings_have_no_numbers_and_larger_names() -> None:
    few, many = (Circuit.random(Graph(4, 8), n, np.random.default_rng(0)) for n in (40, 41))
    sources = [to_dot(Circuit(c.graph, c.mask, c.mask * 0.5)).source for c in (few, many)]
    assert ['label=" 0.5"' in source for source in sources] == [True, False]
    sizes = [int(re.search(r"node \[.*fontsize=(\d+)", source)[1]) for source in sources]  # pyright: ignore[reportOptionalSubscript]
    assert sizes[1] > sizes[0]


ODD: Sequence[str] = [
    "a < b & c > d",
    '"quoted"',
    "back\\slash \\N",
    "über 漢字",
    "</B>",
    "[x] {y} | z",
    "two\nlines",
    "'",
]


@needs_dot
@pytest.mark.parametrize("title", ODD)
def test_odd_titles_are_shown_as_they_are(tmp_path: Path, title: str) -> None:
    path = render(circuit_of(EFFECTS), tmp_path / "a.svg", title)
    texts = [
        element.text or ""
        for element in ElementTree.parse(path).iter()  # noqa: S314 - our own file
        if element.tag.endswith("text")
    ]
    shown = " ".join(texts).replace("\N{NO-BREAK SPACE}", " ")
    assert " ".join(title.split()) in " ".join(shown.split())


@needs_dot
@settings(max_examples=12)
@given(data=st.data(), direct=st.booleans(), mlp=st.booleans(), n_heads=st.integers(1, 3))
def test_graphviz_draws_any_circuit(
    tmp_path_factory: pytest.TempPathFactory,
    data: st.DataObject,
    direct: bool,
    mlp: bool,
    n_heads: int,
) -> None:
    graph = Graph(2, n_heads, mlp, direct)
    kept = data.draw(st.sets(st.integers(0, graph.n_edges - 1)))
    mask = np.isin(np.arange(graph.n_edges), list(kept))
    path = render(
        Circuit(graph, mask, np.linspace(-1, 1, graph.n_edges)),
        tmp_path_factory.mktemp("any") / "a.svg",
    )
    drawn = ElementTree.parse(path)  # noqa: S314 - our own file
    titles = {element.text for element in drawn.iter() if element.tag.endswith("title")}
    assert titles >= set(Circuit(graph, mask).nodes) | {"legend"}


def test_unknown_format(tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match=r"'pngg'. Did you mean 'png'"):
        render(circuit_of(EFFECTS), tmp_path / "a.pngg")
    assert list(tmp_path.iterdir()) == []


def test_dot_text_is_written_without_graphviz(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(graphviz_output, "has_graphviz", lambda: False)
    circuit = circuit_of(EFFECTS)
    assert render(circuit, tmp_path / "a.svg") == tmp_path / "a.dot"
    assert (tmp_path / "a.dot").read_text() == f"{to_dot(circuit).source}// Drawn by circuitgraph\n"


@needs_dot
def test_layout_that_takes_too_long_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(graphviz_output, "_LAYOUT_SECONDS", 0.05)
    with pytest.raises(LayoutError, match=r"no layout within 0.05 s. Draw fewer edges"):
        render(Circuit.full(Graph(4, 8)), tmp_path / "a.svg", most_arrows=None)
    assert list(tmp_path.iterdir()) == []


def test_folder_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "a.dot").mkdir()
    with pytest.raises(OutputError, match="cannot be written"):
        render(circuit_of(EFFECTS), tmp_path / "a.dot")
    assert [path.name for path in tmp_path.iterdir()] == ["a.dot"]


def test_parts_of_an_mlp_stand_above_its_input() -> None:
    graph = Graph(2, 2).refine("m0", neurons=[1, 5])
    effects = {"embed->m0": 1.0, "m0.n5->logits": 2.0, "m0.rest->a1.h0<v>": 0.5}
    source = to_dot(circuit_of({**effects, "a1.h0->logits": 1.0}, graph)).source
    assert "m0.n1" not in source, "it feeds nothing"
    assert edge_lines(source).keys() >= effects.keys()
    assert re.search(r"^\s*embed -> m0 \[", source, re.MULTILINE), "one edge into the shared input"
    for part in ("m0.n5", "m0.rest"):
        assert re.search(rf'^\s*m0 -> "?{re.escape(part)}"? \[', source, re.MULTILINE)
    ranks = re.findall(r'"rank-([^"]+)"', source)
    assert list(dict.fromkeys(ranks))[1:3] == ["0-input", "0-1"], "the input is below the parts"


def test_units_with_inputs_of_their_own_have_edges_of_their_own() -> None:
    graph = Graph(2, 2).refine("m0", neurons=[1, 5], own_inputs=True)
    effects = {"embed->m0.n5": 1.0, "a0.h1->m0": 0.5, "m0.n5->logits": 2.0, "m0.rest->logits": 1.0}
    source = to_dot(circuit_of(effects, graph)).source
    assert re.search(r'^\s*embed -> "?m0.n5"? \[', source, re.MULTILINE)
    assert re.search(r'^\s*"?a0.h1"? -> "?m0.rest"? \[', source, re.MULTILINE)
    assert "0-input" not in source, "no input is shared"


def test_captions_stand_below_the_names_of_nodes() -> None:
    circuit = circuit_of({"embed->a0.h1<v>": 1.0, "a0.h1->logits": 1.0})
    source = to_dot(circuit, captions={"a0.h1": "<copying>", "embed": "words"}).source
    assert "a0.h1<BR/>&lt;copying&gt;</TD>" in source
    assert "words" in source
    assert "a0.h1</TD>" in to_dot(circuit).source
