"""A hypothesis of what heads fetch from one position: scrubbed, written again and read again."""

from __future__ import annotations

from pathlib import Path

import pytest

from circuitgraph.errors import ArgumentError
from circuitgraph.graph.circuit import Circuit
from circuitgraph.graph.graph import Graph
from circuitgraph.hypotheses.loading import load_hypotheses
from circuitgraph.hypotheses.study import Study
from circuitgraph.hypotheses.writing.file import write_source
from circuitgraph.hypotheses.writing.skeleton import check_whole_heads
from circuitgraph.jobs.scrub import scrub


def test_what_two_heads_fetch_at_one_position_each_is_all_that_counts() -> None:
    (h,) = load_hypotheses(Path(__file__).with_name("fetched.py"))
    record = scrub(Study.open(h), n=100)
    assert record.recovered.mean > 0.85
    assert record.rivals[0].recovered.mean < 0.3
    assert "a1.h6[B1]@A2" in {node.site for node in record.nodes}
    assert record.stored is not None
    written = write_source(record.stored)
    assert 'head(1, 6).fetched_from("B1") @ "A2"' in written


def test_no_claims_are_written_of_heads_in_parts() -> None:
    graph = Graph(1, 1).refine_head("a0.h0", ["A"])
    with pytest.raises(ArgumentError, match=r"has some \(of a0\.h0\)"):
        check_whole_heads(Circuit.of(graph, ["a0.h0[A]->logits"]))
