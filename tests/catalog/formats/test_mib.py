"""EAP-IG's and MIB's files: their layout, written anew here from its description, and both ways."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from circuitgraph.catalog.formats.base import decoders
from circuitgraph.errors import ArgumentError, DataError, OutputError, UnknownNameError
from circuitgraph.graph.circuit import Circuit
from circuitgraph.graph.graph import Graph
from circuitgraph.jobs.export import export_circuit

FORMATS = {"mib-json": ".json", "mib-pt": ".pt"}


def draw_circuit(graph: Graph, seed: int = 0, single: bool = False) -> Circuit:
    """A circuit with a score for every edge, of numbers of any size."""
    rng = np.random.default_rng(seed)
    scores = rng.normal(size=graph.n_edges) * 10.0 ** rng.integers(-30, 30, graph.n_edges)
    scores = scores.astype(np.float32).astype(float) if single else scores
    return Circuit(graph, rng.random(graph.n_edges) < 0.3, scores)


def read(path: Path, graph: Graph | None = None, name: str | None = None) -> Circuit:
    chosen = name or {suffix: name for name, suffix in FORMATS.items()}[path.suffix]
    return decoders[chosen].decode_file(path, graph).circuit


# EAP-IG's numbering of writers and of readers' inputs, as its documentation has it.


def row_of(writer: str, n_heads: int) -> int:
    if writer == "input":
        return 0
    layer, _, head = writer[1:].partition(".h")
    return 1 + int(layer) * (n_heads + 1) + (int(head) if head else n_heads)


def column_of(reader: str, n_layers: int, n_heads: int) -> int:
    width = 3 * n_heads + 1
    if reader == "logits":
        return n_layers * width
    layer, _, rest = reader[1:].partition(".h")
    if not rest:
        return int(layer) * width + 3 * n_heads
    return int(layer) * width + "qkv".index(rest[-2]) * n_heads + int(rest[:-3])


@pytest.mark.parametrize("parallel", [False, True])
def test_the_matrices_are_numbered_as_theirs(tmp_path: Path, parallel: bool) -> None:
    circuit = draw_circuit(Graph(3, 2, parallel=parallel), single=True)
    export_circuit(circuit, tmp_path / "it.pt", d_model=8)
    export_circuit(circuit, tmp_path / "it.json", "mib-json", d_model=8)
    matrices = torch.load(tmp_path / "it.pt", weights_only=True)
    listed = json.loads((tmp_path / "it.json").read_text())
    config = {"n_layers": 3, "n_heads": 2, "parallel_attn_mlp": parallel, "d_model": 8}
    assert matrices["cfg"] == listed["cfg"] == config
    assert matrices["edges_scores"].dtype == torch.float32
    n_real = 0
    for name, edge in listed["edges"].items():
        writer, reader = name.split("->")
        place = row_of(writer, 2), column_of(reader, 3, 2)
        assert matrices["src_nodes"][place[0]] == writer
        assert matrices["dst_nodes"][place[1]] == reader
        assert matrices["edges_scores"][place].item() == edge["score"]
        assert matrices["edges_in_graph"][place].item() == edge["in_graph"]
        n_real += 1
    assert n_real == circuit.graph.n_edges
    assert int(matrices["edges_in_graph"].sum()) == len(circuit)
    in_graph = [listed["nodes"][name]["in_graph"] for name in matrices["src_nodes"]]
    assert matrices["nodes_in_graph"].tolist() == in_graph
    kept = {name for name, edge in listed["edges"].items() if edge["in_graph"]}
    for name, node in listed["nodes"].items():
        enters = name == "input" or any(e.split("->")[1].split("<")[0] == name for e in kept)
        leaves = name == "logits" or any(e.startswith(f"{name}->") for e in kept)
        assert node["in_graph"] == (name == "logits" or (enters and leaves))


shapes = st.tuples(st.integers(1, 3), st.integers(1, 3), st.booleans(), st.booleans())


@settings(max_examples=25)
@given(shape=shapes, seed=st.integers(0, 2**32 - 1), single=st.booleans())
@pytest.mark.parametrize("name", FORMATS)
def test_a_circuit_comes_back_bit_for_bit(
    tmp_path_factory: pytest.TempPathFactory,
    name: str,
    shape: tuple[int, int, bool, bool],
    seed: int,
    single: bool,
) -> None:
    n_layers, n_heads, parallel, coupled = shape
    graph = Graph(n_layers, n_heads, parallel=parallel, coupled=coupled)
    circuit = draw_circuit(graph, seed, single)
    path = tmp_path_factory.mktemp("out") / f"it{FORMATS[name]}"
    export_circuit(circuit, path, name, d_model=8)
    back = read(path, graph)
    assert back == circuit
    assert back.scores is not None
    assert back.scores.tobytes() == np.asarray(circuit.scores).tobytes()
    assert back.tested is None
    assert read(path).graph == replace(graph, coupled=False)


def test_gpt2_has_the_edges_that_mib_counts(tmp_path: Path) -> None:
    export_circuit(draw_circuit(Graph(12, 12)), tmp_path / "it.json", "mib-json", d_model=768)
    content = json.loads((tmp_path / "it.json").read_text())
    assert (len(content["edges"]), len(content["nodes"])) == (32_491, 158)


@pytest.mark.parametrize("name", FORMATS)
def test_what_the_format_cannot_hold_is_said(tmp_path: Path, name: str) -> None:
    path = tmp_path / f"it{FORMATS[name]}"
    grouped = Graph(1, 4, n_kv_heads=2)
    circuit = Circuit.of(grouped, ["embed->a0.kv1<v>", "a0.h3->logits"])
    notes = " ".join(export_circuit(circuit, path, name, d_model=8))
    for words in ("no scores: 1 stands", "2 key-value heads are not held"):
        assert words in notes
    assert read(path).edges == ["embed->a0.h2<v>", "embed->a0.h3<v>", "a0.h3->logits"]
    bare = Graph(2, 2, mlp=False, coupled=True)
    half = Circuit.of(bare, ["embed->a0.h0<q>", "embed->logits", "a0.h1->a1.h0<v>"]).mask
    circuit = Circuit(bare, half, np.ones(bare.n_edges), half, {"task": {"arguments": {}}})
    notes = " ".join(export_circuit(circuit, path, name, d_model=8, overwrite=True))
    for words in ("were never tested", "no MLPs", "post-norm", "prepend_bos", "on no path"):
        assert words in notes
    assert read(path, bare) == circuit


@pytest.mark.parametrize("name", FORMATS)
def test_a_circuit_that_would_be_another_is_refused(tmp_path: Path, name: str) -> None:
    graph = Graph(2, 2)
    cut = graph.refine("m1", neurons=[3, 5])
    for other, words in ((replace(graph, direct=True), "direct"), (cut, r"no neurons.*of m1")):
        with pytest.raises(ArgumentError, match=words):
            export_circuit(Circuit.full(other), tmp_path / "it", name, d_model=8)
    scores = np.full(graph.n_edges, np.nan)
    with pytest.raises(ArgumentError, match="no finite numbers"):
        export_circuit(
            replace(Circuit.full(graph), scores=scores), tmp_path / "it", name, d_model=8
        )
    assert list(tmp_path.iterdir()) == []


def test_options_and_endings(tmp_path: Path) -> None:
    circuit, path = draw_circuit(Graph(1, 1)), tmp_path / "it.pt"
    with pytest.raises(ArgumentError, match="needs d_model"):
        export_circuit(circuit, path)
    with pytest.raises(ArgumentError, match="d_model is 0"):
        export_circuit(circuit, path, d_model=0)
    with pytest.raises(UnknownNameError, match="'d_mode'"):
        export_circuit(circuit, path, d_mode=8)
    with pytest.raises(UnknownNameError, match="mib-json"):
        export_circuit(circuit, path, "mib-jsn", d_model=8)
    with pytest.raises(ArgumentError, match=r"may be mib-json or node-link"):
        export_circuit(circuit, tmp_path / "it.json", d_model=8)
    export_circuit(circuit, path, d_model=8)
    with pytest.raises(OutputError, match="--overwrite"):
        export_circuit(circuit, path, d_model=8)


def test_a_model_of_another_shape(tmp_path: Path) -> None:
    path = tmp_path / "it.pt"
    export_circuit(Circuit.full(Graph(2, 2)), path, d_model=8)
    for graph in (Graph(2, 3), Graph(2, 2, parallel=True)):
        with pytest.raises(DataError, match="the model's graph is"):
            read(path, graph)
    with pytest.raises(DataError, match=r"edges that the model does not have:\n  - "):
        read(path, Graph(2, 2, mlp=False))


def write_json(path: Path, **changes: Any) -> Path:
    """A file of one layer and one head, with other values at some places, by ``part/name``."""
    export_circuit(Circuit.full(Graph(1, 1)), path, "mib-json", d_model=8, overwrite=True)
    content = json.loads(path.read_text())
    for place, value in changes.items():
        holder, names = content, place.split("/")
        for part in names[:-1]:
            holder = holder[part]
        holder[names[-1]] = value
    path.write_text(json.dumps(content))
    return path


BAD = {
    "cfg": (5, "cfg.n_layers is None"),
    "cfg/n_heads": (0, "cfg.n_heads is 0"),
    "cfg/n_layers": (10**9, "cfg.n_layers is 1000000000"),
    "cfg/parallel_attn_mlp": (None, "true or false"),
    "nodes": ([], "no objects"),
    "nodes/a0.h1": ({"in_graph": True}, r"Did you mean 'a0.h0'"),
    "nodes/m0": ({"in_graph": 1}, "m0 does not say in_graph"),
    "nodes/a0.h0": ({"in_graph": True, "neurons": [True, False]}, "only some dimensions"),
    "edges/m0->a0.h0<q>": ({"score": 1.0, "in_graph": True}, "a0.h0<q> does not come after m0"),
    "edges/embed->m0": ({"score": 1.0, "in_graph": True}, "twice, under two names"),
    "edges/input->m0": ({"score": "x", "in_graph": True}, "no score that is a number"),
    "edges/a0.h0->m0": ({"score": 1.0}, "does not say in_graph"),
    "edges/input->a0.h0<k>": ({"score": float("nan"), "in_graph": True}, "finite"),
}


@pytest.mark.parametrize("place", BAD)
def test_bad_json_is_refused_with_the_place(tmp_path: Path, place: str) -> None:
    value, words = BAD[place]
    with pytest.raises(DataError, match=words) as caught:
        read(write_json(tmp_path / "it.json", **{place: value}))
    assert "it.json' cannot be read as mib-json" in str(caught.value)


def test_what_a_file_leaves_out_and_has_beyond(tmp_path: Path) -> None:
    node = {"in_graph": True, "score": 0.5, "neurons": [True], "neurons_scores": [1.0]}
    path = write_json(tmp_path / "it.json", **{"nodes/m0": node})
    content = json.loads(path.read_text())
    del content["edges"]["input->m0"]
    path.write_text(json.dumps(content))
    decoded = decoders["mib-json"].decode_file(path, None)
    edge = decoded.circuit.graph.edge_index("embed->m0")
    assert decoded.circuit.tested is not None
    assert np.flatnonzero(~decoded.circuit.tested).tolist() == [edge]
    assert not decoded.circuit.mask[edge]
    notes = " ".join(decoded.notes)
    for words in ("Scores of nodes", "single dimensions", "1 edges are not listed"):
        assert words in notes


BAD_MATRICES: dict[str, tuple[Any, str]] = {
    "cfg": ({}, "cfg.n_layers is None"),
    "src_nodes": (["input"], "src_nodes are not those"),
    "dst_nodes": (5, "dst_nodes are not those"),
    "edges_scores": (torch.zeros(2, 2), r"edges_scores is \[2, 2\], but must be"),
    "edges_in_graph": (torch.zeros(3, 5), "of float32, but must say true or false"),
    "neurons_in_graph": (torch.zeros(3, 8, dtype=torch.bool), "only some dimensions"),
}


@pytest.mark.parametrize("key", BAD_MATRICES)
def test_bad_matrices_are_refused(tmp_path: Path, key: str) -> None:
    export_circuit(Circuit.full(Graph(1, 1)), tmp_path / "it.pt", d_model=8)
    content = torch.load(tmp_path / "it.pt", weights_only=True)
    value, words = BAD_MATRICES[key]
    torch.save(content | {key: value}, tmp_path / "it.pt")
    with pytest.raises(DataError, match=words):
        read(tmp_path / "it.pt")


def test_matrices_of_other_types_and_places(tmp_path: Path) -> None:
    circuit, path = draw_circuit(Graph(1, 2), single=True), tmp_path / "it.pt"
    export_circuit(circuit, path, d_model=8)
    content = torch.load(path, weights_only=True)
    half = content | {"edges_scores": content["edges_scores"].to(torch.bfloat16)}
    torch.save(half | {"nodes_scores": torch.zeros(4)}, path)
    decoded = decoders["mib-pt"].decode_file(path, None)
    assert decoded.circuit == circuit
    assert decoded.circuit.scores is not None
    assert np.allclose(decoded.circuit.scores, np.asarray(circuit.scores), rtol=0.01)
    assert "Scores of nodes" in decoded.notes[0]
    del content["edges_scores"]
    torch.save(content, path)
    assert read(path).scores is None
    content["edges_in_graph"][2, 0] = True  # a head into itself
    torch.save(content, path)
    with pytest.raises(DataError, match="keeps 1 edges that Graph"):
        read(path)


def test_no_code_of_a_file_is_run(tmp_path: Path) -> None:
    class Hostile:
        def __reduce__(self) -> Any:
            return (Path(tmp_path / "ran").touch, ())

    torch.save({"cfg": Hostile()}, tmp_path / "it.pt")
    with pytest.raises(DataError, match="would run code"):
        read(tmp_path / "it.pt")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("name", FORMATS)
def test_files_that_are_none(tmp_path: Path, name: str) -> None:
    path = tmp_path / "it"
    with pytest.raises(DataError, match="No such file"):
        read(path, name=name)
    path.write_bytes(b"{}" if name == "mib-json" else b"PK")
    with pytest.raises(DataError, match=r"it has not the keys|cannot be read"):
        read(path, name=name)
