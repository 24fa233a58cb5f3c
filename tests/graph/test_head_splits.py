"""Graphs in which heads are cut by where they fetch: names, counts, records, what is refused."""

from __future__ import annotations

import numpy as np
import pytest

from circuitgraph.catalog.files import count_graph, make_circuit_record, make_graph
from circuitgraph.catalog.formats.base import refuse_parts
from circuitgraph.discovery.head_sources import parse_head_sources, split_heads
from circuitgraph.discovery.refinement import refine_edges
from circuitgraph.errors import ArgumentError, UnknownNameError
from circuitgraph.graph.circuit import Circuit
from circuitgraph.graph.graph import Graph
from circuitgraph.graph.node import Node

SPLIT = Graph(2, 2).refine_head("a0.h1", ["IO", "S1+1"])


def test_a_split_head_is_its_parts_and_the_rest() -> None:
    names = [writer.name for writer in SPLIT.writers]
    parts = ["a0.h1[IO]", "a0.h1[S1+1]", "a0.h1[rest]"]
    assert names == ["embed", "a0.h0", *parts, "m0", "a1.h0", "a1.h1", "m1"]
    assert [r.name for r in SPLIT.readers] == [r.name for r in Graph(2, 2).readers]
    key = SPLIT.readers[SPLIT.reader_index("a0.h1<k>")]
    assert SPLIT.reader_nodes(key) == tuple(parts)
    assert SPLIT.writers[SPLIT.writer_index("L0H1[IO]")].node == Node("source", 0, 1, "IO")
    assert SPLIT.edges[SPLIT.edge_index("0.1[rest]->m1")] == "a0.h1[rest]->m1"
    assert sorted(writer.node for writer in SPLIT.writers) == [w.node for w in SPLIT.writers]
    assert "head_splits" in repr(SPLIT)
    coupled = Graph(1, 2, coupled=True).refine_head("a0.h0", ["0"])
    assert coupled.moved_by(coupled.readers[0]) == (1, 2, 3)


def test_edges_into_a_split_head_lead_to_the_parts_that_feed_something() -> None:
    circuit = Circuit.of(SPLIT, ["embed->a0.h1<v>", "a0.h1[IO]->logits"])
    assert list(circuit.nodes) == ["embed", "a0.h1[IO]", "logits"]
    assert circuit.pruned() == circuit
    idle = Circuit.of(SPLIT, ["embed->a0.h1<v>", "a0.h1[rest]->m0", "embed->logits"])
    assert list(idle.pruned().edges) == ["embed->logits"]


@pytest.mark.parametrize("parallel", [False, True])
@pytest.mark.parametrize("own", [False, True])
@pytest.mark.parametrize("n_kv_heads", [None, 1])
def test_a_graph_is_made_again_from_its_record(
    parallel: bool, own: bool, n_kv_heads: int | None
) -> None:
    graph = Graph(3, 2, parallel=parallel, n_kv_heads=n_kv_heads)
    graph = graph.refine_head("a1.h0", ["B", "A"]).refine_head("a0.h1", ["3"])
    graph = graph.refine("m1", neurons=[2, 5], own_inputs=own)
    record = make_circuit_record(Circuit(graph, np.ones(graph.n_edges, bool)))
    assert record.schema_version == 3
    assert make_graph(record.graph) == graph
    counts = len(graph.writers), len(graph.readers), graph.n_edges
    assert count_graph(record.graph) == count_graph(graph) == counts
    assert "head_splits" not in make_circuit_record(Circuit.of(Graph(1, 1), [])).to_json()
    with pytest.raises(ArgumentError, match=r"no heads in parts, .* \(of a0\.h1, a1\.h0\)"):
        refuse_parts("mib", Circuit(graph, np.ones(graph.n_edges, bool)))


def test_heads_may_be_in_parts_where_mlps_are_refined() -> None:
    refined = SPLIT.refine("m0", neurons=[4])
    mask = np.random.default_rng(0).random(SPLIT.n_edges) < 0.5
    kept = set(Circuit(refined, refine_edges(SPLIT, mask, refined)).edges)
    for edge, is_kept in zip(SPLIT.edges, mask, strict=True):
        writer, _, reader = edge.partition("->")
        parts = ("m0.n4", "m0.rest") if writer == "m0" else (writer,)
        assert all((f"{part}->{reader}" in kept) == is_kept for part in parts), edge


def test_which_heads_are_cut_is_read_from_texts() -> None:
    sources = parse_head_sources(["a0.h1:IO, S1+1", "1.0"])
    assert sources == {Node("head", 0, 1): ("IO", "S1+1"), Node("head", 1, 0): ()}
    graph = split_heads(Graph(2, 2), sources, ["end"])
    assert graph == SPLIT.refine_head("a1.h0", ["end"])
    with pytest.raises(ArgumentError, match=r"have none: name positions, such as 'a1\.h0:0,1'"):
        split_heads(Graph(2, 2), sources, [])
    problems = r"m0 is no head.*'x' is not the name.*named twice.*cannot name a source"
    with pytest.raises(ArgumentError, match=f"(?s){problems}"):
        parse_head_sources(["m0:IO", "x", "a0.h1", "L0H1:A", "a1.h0:rest"])


@pytest.mark.parametrize("sources", [[], ["A", "A"], ["rest"], ["A@B"], ["a->b"], [""], ["A B"]])
def test_names_that_cannot_be_sources_are_refused(sources: list[str]) -> None:
    with pytest.raises(ArgumentError, match=r"of a0\.h0"):
        Graph(1, 1).refine_head("a0.h0", sources)


def test_only_whole_heads_are_cut() -> None:
    with pytest.raises(ArgumentError, match="only whole heads can"):
        SPLIT.refine_head("m0", ["A"])
    with pytest.raises(UnknownNameError, match=r"a0\.h1"):
        SPLIT.refine_head("a0.h1", ["A"])
