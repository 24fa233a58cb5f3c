"""What a page is told: readings at the nodes and edges they name, roles, the tree of claims."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from circuitgraph.catalog.analysis_record import (
    HeatmapRecord,
    Reading,
    TableRecord,
    TextRecord,
    TextsRecord,
)
from circuitgraph.catalog.certainty_record import (
    CertaintyRecord,
    EdgeCertainty,
    RepeatedSearchRecord,
    save_certainty,
)
from circuitgraph.catalog.files import save_circuit
from circuitgraph.catalog.records import Interval
from circuitgraph.catalog.scrub_record import ComparedRecord, NodeRecord, ScrubRecord
from circuitgraph.drawing.page.attaching import attach_reading, name_types
from circuitgraph.drawing.page.circuit_page import make_data
from circuitgraph.drawing.page.entry import PageCircuit, load_entry, make_entry
from circuitgraph.errors import DataError
from circuitgraph.graph.circuit import Circuit
from circuitgraph.graph.graph import Graph
from tests.drawing.page.circuits import draw_circuit

EDGES = ["embed->a0.h1<v>", "a0.h1->a1.h0<k>", "a1.h0->logits"]


def make_scrub() -> ScrubRecord:
    """A claim about the output, and one about a head below it."""
    share = Interval(mean=0.8, low=0.7, high=0.9)
    nodes = [
        NodeRecord(
            path=path,
            variable=variable,
            site=site,
            feeds=feeds,
            role=role,
            alone=share,
            all_but=share,
            donor="a b",
            value="b",
            others=None,
        )
        for path, variable, site, feeds, role in (
            (["answer"], "answer", "logits@end", "", "output"),
            (["answer", "copied"], "copied", "a1.h0@end", "x", "induction head"),
            (["answer", "copied", "now"], "now", "embed@end", "q", ""),
        )
    ]
    rival = ComparedRecord(
        name="no head",
        loss=share,
        recovered=share,
        standard_error=0.1,
        accuracy=share,
        difference=share,
    )
    return ScrubRecord.model_construct(
        hypothesis="by a head",
        verdict="held",
        held=True,
        outcome="held",
        recovered=share,
        rivals=[rival],
        nulls=[],
        nodes=nodes,
    )


def small_entry() -> PageCircuit:
    return make_entry(Circuit.of(Graph(2, 2, mlp=False), EDGES), "small")


def attach(reading: Reading) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The nodes and edges by name, and what stands with the circuit."""
    data = make_data([small_entry()], {}, None)
    homes = {home["name"]: home for home in (*data["edges"], *data["nodes"])}
    attach_reading("of", reading, homes, data["readings"])
    return homes, data["readings"]


def test_tables_go_to_the_nodes_and_edges_that_their_rows_name() -> None:
    heads = TableRecord(
        title="heads",
        columns=["head", "x"],
        rows=[["L1H0", Interval(mean=1, low=0, high=2)], ["a0.h0", 3], ["a0.h1", 4]],
    )
    edges = TableRecord(
        title="edges",
        columns=["prompt", "edge", "x"],
        rows=[["p", EDGES[1], 1], ["q", "a0.h1->a1.h0.k", 2]],
    )
    other = TableRecord(title="others", columns=["layer", "x"], rows=[["3", 1]])
    homes, general = attach(Reading(tables=[heads, edges, other]))
    (table,) = homes["a1.h0"]["readings"]
    assert table["columns"] == ["x"]
    assert table["rows"] == [[{"mean": 1.0, "low": 0.0, "high": 2.0}]]
    assert homes[EDGES[1]]["readings"][0]["rows"] == [["p", 1], ["q", 2]]
    assert [one["title"] for one in general] == ["of: others"]
    assert homes["embed"]["readings"] == []


def test_pictures_go_to_the_node_in_their_title_or_by_layer_and_head() -> None:
    shape = {"unit": "u", "column_axis": "head", "column_labels": ["0", "1"]}
    values = [[1.0, 2.0], [3.0, None]]
    pattern = HeatmapRecord(
        title="pattern of a1.h0", row_axis="query", row_labels=["a", "b"], values=values, **shape
    )
    heads = HeatmapRecord(
        title="share", row_axis="layer", row_labels=["0", "1"], values=values, **shape
    )
    texts = TextsRecord(title="texts", unit="L0H1", texts=[TextRecord(tokens=["a"], values=[1])])
    homes, general = attach(Reading(tables=[], pictures=[pattern, heads, texts]))
    assert [one["kind"] for one in homes["a1.h0"]["readings"]] == ["grid"]
    assert homes["a1.h0"]["facts"] == [("of: share", 3.0)]
    assert homes["a0.h1"]["facts"] == [("of: share", 2.0)]
    assert [one["kind"] for one in homes["a0.h1"]["readings"]] == ["texts"]
    assert general == []


def test_types_are_of_the_column_or_of_the_title() -> None:
    rows = [["a0.h1", "copying", True], ["a0.h1", "induction", True], ["a1.h0", "copying", False]]
    by_column = TableRecord(title="t", columns=["head", "type", "named"], rows=rows)
    by_title = TableRecord(
        title="induction heads", columns=["head", "named"], rows=[["a1.h0", True]]
    )
    assert name_types(Reading(tables=[by_column])) == {"a0.h1": "copying, induction"}
    assert name_types(Reading(tables=[by_title])) == {"a1.h0": "induction"}


def test_a_scrub_gives_roles_and_the_tree() -> None:
    data = make_data([small_entry()], {}, make_scrub())
    roles = {node["name"]: node["role"] for node in data["nodes"]}
    assert roles == {"embed": "now", "a0.h1": "", "a1.h0": "induction head", "logits": "output"}
    tree = data["scrub"]
    assert [node["node"] for node in tree["nodes"]] == ["logits", "a1.h0", "embed"]
    assert [name for name, _ in tree["facts"]] == ["loss recovered", "instead: no head", "outcome"]


def test_parts_of_a_split_mlp_hang_on_its_input() -> None:
    graph = Graph(1, 2).refine("m0", neurons=[4, 7])
    edges = ["embed->m0", "m0.n4->logits", "m0.rest->logits"]
    data = make_data([make_entry(Circuit.of(graph, edges), "split")], {}, None)
    names = [node["name"] for node in data["nodes"]]
    assert names == ["embed", "m0", "m0.n4", "m0.rest", "logits"]
    assert [[names[one] for one in part] for part in data["parts"]] == [
        ["m0", "m0.n4"], ["m0", "m0.rest"]
    ]  # fmt: skip
    ranks = {node["name"]: node["rank"] for node in data["nodes"]}
    assert ranks["embed"] < ranks["m0"] < ranks["m0.n4"] == ranks["m0.rest"] < ranks["logits"]
    (reader,) = (one for one in data["readers"] if one["name"] == "m0")
    assert [names[index] for index in reader["nodes"]] == ["m0"]
    assert [names[index] for index in reader["moves"]] == ["m0.n4", "m0.rest"]


def test_a_damaged_judgement_is_refused_with_its_name(tmp_path: Path) -> None:
    folder = save_circuit(draw_circuit(Graph(1, 2), 4, 0), tmp_path / "x")
    assert load_entry(folder).judgement is None
    (folder / "judgement.json").write_text(json.dumps({"metric": 3}))
    with pytest.raises(DataError, match=r"judgement\.json' is not what `circuitgraph evaluate"):
        load_entry(folder)


def test_certainty_beside_a_circuit_is_told_edge_by_edge(tmp_path: Path) -> None:
    folder = save_circuit(draw_circuit(Graph(1, 2), 4, 0), tmp_path / "x")
    first, second, *_ = load_entry(folder).circuit.edges
    share = Interval(mean=0.75, low=0.5, high=1)
    told = {"frequency": share, "in_circuit": True, "runs": "1101"}
    edges = [
        EdgeCertainty(edge=first, kind="core", **told),
        EdgeCertainty(edge=second, kind="noise", **told),
    ]
    searches = [
        RepeatedSearchRecord(metric="kl", factor=1.0, sample=i, n_edges=4) for i in range(4)
    ]
    record = CertaintyRecord(
        metrics=["kl"], factors=[1.0], n_samples=4, n_prompts=8, prompts_sha256="0", seed=0,
        core=0.9, noise=0.1, chance=0.2, overlap_samples=None, overlap_factors=None,
        overlap_metrics=None, seconds=1.0, searches=searches, edges=edges,
    )  # fmt: skip
    save_certainty(record, folder)
    data = make_data([load_entry(folder)], {}, None)
    assert [edge["certainty"] for edge in data["edges"]] == ["core", "noise", "", ""]
    fact = ("core: share of 4 searches that keep it", {"mean": 0.75, "low": 0.5, "high": 1.0})
    assert data["edges"][0]["facts"] == [fact]
    assert ("certainty", "1 core, 1 noise") in data["circuits"][0]["facts"]
