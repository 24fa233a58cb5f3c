"""Lists of edges by name: our table both ways, auto-circuit's and the ACDC reference's lists in."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings

from circuitgraph.catalog.formats.base import Decoded, decoders
from circuitgraph.errors import DataError
from circuitgraph.graph.circuit import Circuit
from circuitgraph.graph.graph import Graph
from circuitgraph.jobs.export import export_circuit
from tests.graph.strategies import Drawn, drawn

GRAPH = Graph(2, 2)


def decode(path: Path, name: str, graph: Graph | None = GRAPH) -> Decoded:
    return decoders[name].decode_file(path, graph)


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


# Our own table


@settings(max_examples=30)
@given(drawn=drawn())
def test_a_table_comes_back(tmp_path_factory: pytest.TempPathFactory, drawn: Drawn) -> None:
    mask, other = (circuit.mask for circuit in drawn.circuits(2))
    tested = mask | other
    scores = np.random.default_rng(drawn.seed).normal(size=len(mask)) * 1e-7
    circuit = Circuit(drawn.graph, mask, np.where(tested, scores, 0.0), tested)
    path = tmp_path_factory.mktemp("out") / "it.csv"
    export_circuit(circuit, path)
    back = decode(path, "edge-list", drawn.graph).circuit
    if not drawn.graph.direct or any("<" in e.split("->")[0] for e in circuit.edges):
        assert back == circuit
    if back.graph == drawn.graph and tested.any():
        assert back.scores is not None
        assert np.array_equal(back.scores, np.asarray(circuit.scores))


def test_a_table_by_hand(tmp_path: Path) -> None:
    path = write(tmp_path / "it.csv", "edge\nL0H1->logits\nembed->a0.h1<v>\n")
    circuit = decode(path, "edge-list").circuit
    assert circuit.edges == ["embed->a0.h1<v>", "a0.h1->logits"]
    assert circuit.scores is None
    write(path, "edge,score,in_graph\ninput->m0,0.5,\nm0->logits,,true\nm0->m1,-1e-3,false\n")
    circuit = decode(path, "edge-list").circuit
    assert circuit.edges == ["embed->m0", "m0->logits"]
    effects = [
        circuit.effect_of(GRAPH.edge_index(e)) for e in ("embed->m0", "m0->logits", "m0->m1")
    ]
    assert effects == [0.5, None, -0.001]


TABLES = {
    "": "must name the columns",
    "edge,weight\n": "not 'weight'",
    "score\n1\n": "must name the columns",
    "edge\nembed->m9\n": r"line 2: Unknown reader 'm9'\. Did you mean",
    "edge\nm1->m0\n": "line 2: 'm1->m0' is not an edge: m0 does not come after m1",
    "edge\nembed->m0\nm0->m1\ninput->m0\n": "line 4: input->m0 is there already, at line 2",
    "edge,score\nembed->m0,nan\n": "line 2: the score is nan",
    "edge,score\nembed->m0,x\n": "line 2: 'x' is no number",
    "edge,in_graph\nembed->m0,maybe\n": "in_graph is 'maybe'",
    "edge,score\nembed->m0,1,2\n": "line 2 has other columns",
    'edge\n"embed': "it is no table",
    "edge\nembed->a0.kv0<k>\n": "--grouped",
    "edge\nm0.n3->logits\n": "does not say which others",
}


@pytest.mark.parametrize("text", TABLES)
def test_bad_tables_are_refused_with_the_line(tmp_path: Path, text: str) -> None:
    with pytest.raises(DataError, match=TABLES[text]):
        decode(write(tmp_path / "it.csv", text), "edge-list")


@pytest.mark.parametrize("name", ["edge-list", "auto-circuit", "acdc"])
def test_a_list_needs_a_model(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match="give the model"):
        decode(write(tmp_path / "it", "edge\nembed->m0\n"), name, None)


def test_neurons_are_written(tmp_path: Path) -> None:
    graph = GRAPH.refine("m0", neurons=[3])
    export_circuit(Circuit.of(graph, ["m0.n3->logits"]), tmp_path / "it.csv")
    assert (tmp_path / "it.csv").read_text() == "edge,score,in_graph\nm0.n3->logits,,true\n"
    assert decode(tmp_path / "it.csv", "edge-list", graph).circuit.edges == ["m0.n3->logits"]


# auto-circuit

NAMES = ["Resid Start->A0.1.K", "A0.1->MLP 1", "MLP 1->Resid End"]
OURS = ["embed->a0.h1<k>", "a0.h1->m1", "m1->logits"]


def test_names_of_auto_circuit(tmp_path: Path) -> None:
    path = tmp_path / "it.txt"
    for text in ("\n".join(["# mine", *NAMES, ""]), json.dumps(NAMES)):
        decoded = decode(write(path, text), "auto-circuit")
        assert (decoded.circuit.edges, decoded.notes) == (OURS, ())
    lines = [f"{name}, {0.25 * i}" for i, name in enumerate(NAMES)]
    for text in ("\n".join(lines), json.dumps({n: 0.25 * i for i, n in enumerate(NAMES)})):
        circuit = decode(write(path, text), "auto-circuit").circuit
        assert [circuit.effect_of(i) for i in np.flatnonzero(circuit.mask)] == [0.0, 0.25, 0.5]


def test_a_whole_head_is_three_inputs(tmp_path: Path) -> None:
    decoded = decode(write(tmp_path / "it.txt", "A0.0->A1.1\t-2"), "auto-circuit")
    assert decoded.circuit.edges == [f"a0.h0->a1.h1<{letter}>" for letter in "qkv"]
    assert decoded.circuit.scores is not None
    assert decoded.circuit.scores.sum() == -6
    assert "1 edges lead into whole heads" in decoded.notes[0]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Resid Start->A0.9.Q", "line 1: Unknown reader"),
        ("A0.0->A1.1.Q\nA0.0->A1.1", "line 2: A0.0->A1.1.Q is there already, at line 1"),
        ("A0.0->A1.1.Q, x", "line 1: 'x' is no number"),
        ("[5]", "entry 1 is 5"),
        ('{"A0.0->A1.1.Q": true}', "entry 1 has the score True"),
        ("[" * 50, "levels deep|Expecting"),
    ],
)
def test_bad_lists_of_auto_circuit(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(DataError, match=words):
        decode(write(tmp_path / "it.txt", text), "auto-circuit")


# The ACDC reference

HOOKS = [
    ["blocks.1.hook_resid_post", [None], "blocks.1.attn.hook_result", [None, None, 0]],
    ["blocks.1.attn.hook_result", [None, None, 0], "blocks.1.attn.hook_v", [None, None, 0]],
    ["blocks.1.attn.hook_v", [None, None, 0], "blocks.1.hook_v_input", [None, None, 0]],
    ["blocks.1.hook_v_input", [None, None, 0], "blocks.0.hook_resid_pre", [None]],
    ["blocks.1.hook_resid_post", [None], "blocks.0.hook_mlp_out", [None]],
    ["blocks.0.hook_mlp_out", [None], "blocks.0.hook_mlp_in", [None]],
    ["blocks.0.hook_mlp_in", [None], "blocks.0.attn.hook_result", [None, None, 1]],
]
EDGES = {
    "a1.h0->logits",
    "a1.h0<v>->a1.h0",
    "embed->a1.h0<v>",
    "m0->logits",
    "a0.h1->m0",
}


def show(index: list[int | None]) -> str:
    return f"[{', '.join(':' if at is None else str(at) for at in index)}]"


def test_hooks_of_the_reference(tmp_path: Path) -> None:
    path = tmp_path / "it.txt"
    written = [f"(({r!r}, {show(i)}, {s!r}, {show(j)}), 0.5)" for r, i, s, j in HOOKS]
    arrows = [f"{r}{show(i)} <- {s}{show(j)}" for r, i, s, j in HOOKS]
    texts = ["\n".join(written), "\n".join(arrows), json.dumps(HOOKS)]
    for text in (*texts, json.dumps([[hook, 0.5] for hook in HOOKS])):
        decoded = decode(write(path, text), "acdc")
        assert set(decoded.circuit.edges) == EDGES
        assert decoded.circuit.graph == Graph(2, 2, direct=True)
        assert decoded.notes == ()
        measured = "0.5" in text
        assert (decoded.circuit.scores is not None) == measured
        if decoded.circuit.scores is not None:
            assert decoded.circuit.scores[decoded.circuit.mask].tolist() == [0.5] * 5


def test_hooks_without_direct_edges(tmp_path: Path) -> None:
    decoded = decode(write(tmp_path / "it.txt", json.dumps([HOOKS[0], HOOKS[3]])), "acdc")
    assert decoded.circuit.graph == GRAPH
    assert decoded.circuit.edges == ["embed->a1.h0<v>", "a1.h0->logits"]
    assert "no direct q, k and v edges" in decoded.notes[0]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("blocks.1.hook_q_input", "line 1 is 'blocks.1.hook_q_input', but must name"),
        ("x" * 10_000, r"must name a receiver"),
        ("blocks.9.hook_mlp_in[:] <- blocks.0.hook_resid_pre[:]", "Unknown reader 'm9'"),
        ("blocks.0.hook_mlp_in[:] <- hook_pos_embed[:]", "is not the name of a node"),
        ("[[1, 2, 3]]", "entry 1 must be receiver"),
        ("[[1, 2, 3, 4]]", "entry 1 names no hooks"),
    ],
)
def test_bad_hooks(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(DataError, match=words):
        decode(write(tmp_path / "it.txt", text), "acdc")


def test_a_pickle_is_never_read(tmp_path: Path) -> None:
    (tmp_path / "it.txt").write_bytes(pickle.dumps([(tuple(map(str, HOOKS[0])), 0.5)]))
    with pytest.raises(DataError, match="pickle, which could run code and is never read"):
        decode(tmp_path / "it.txt", "acdc")
