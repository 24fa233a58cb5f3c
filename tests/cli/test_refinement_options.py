"""``--granularity``, ``--refine``, ``--units``: what reaches a search, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from circuitgraph.catalog.files import load_circuit
from tests.cli.conftest import call

SEARCH = ("discover", "addition", "--limit", 4, "--metric", "kl", "--threshold", 1)


@pytest.mark.slow
def test_named_neurons_are_nodes_of_the_stored_circuit(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    ran = call(*SEARCH, "--refine", "m1:3,5", "--out", folder, "--json")
    assert ran.code == 0, ran.err
    record = json.loads(ran.out)
    assert record["graph"]["splits"] == [{"indices": [3, 5], "kind": "neuron", "layer": 1}]
    assert record["schema_version"] == 2
    assert record["refinement"]["refine"] == ["m1:3,5"]
    assert load_circuit(folder).graph.n_units == 2
    assert "without what is no node of its own" in ran.err
    drawn = call("render", folder, "--out", tmp_path / "again.dot")
    assert drawn.code == 0, drawn.err
    judged = call("evaluate", folder, "--limit", 8, "--measures", "minimality", "--json")
    assert judged.code == 0, judged.err


@pytest.mark.slow
def test_neurons_with_inputs_of_their_own_are_readers_of_the_stored_circuit(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    ran = call(*SEARCH, "--refine", "m1:3,5", "--own-inputs", "--out", folder, "--json")
    assert ran.code == 0, ran.err
    record = json.loads(ran.out)
    split = {"indices": [3, 5], "kind": "neuron", "layer": 1, "own_inputs": True}
    assert record["graph"]["splits"] == [split]
    graph = load_circuit(folder).graph
    assert graph.edges[graph.edge_index("a1.h0->m1.n5")] == "a1.h0->m1.n5"
    forecast = call(*SEARCH, "--refine", "m1:3,5", "--own-inputs", "--dry-run", "--json")
    assert json.loads(forecast.out)["edges"] == graph.n_edges == record["graph"]["n_edges"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--granularity", "feature"), "name a dictionary with --dictionary"),
        (("--granularity", "atom"), "expected one of head, neuron, feature"),
        (("--granularity", "neuron", "--dictionary", "x"), "leave one of them out"),
        (("--granularity", "head", "--units", 3), "leave them out"),
        (("--own-inputs",), "there are no neurons or features among the nodes"),
        (("--units", 0), "--units is 0"),
        (("--refine", "m0:1", "--units", 3), "give one of them"),
        (("--granularity", "neuron", "--thresholds", "1,2"), "give one --threshold"),
    ],
)
def test_options_that_make_no_sense_are_refused(
    tmp_path: Path, options: tuple[object, ...], message: str
) -> None:
    start = SEARCH[:-2] if "--thresholds" in options else SEARCH
    ran = call(*start, *options, "--out", tmp_path / "run")
    assert ran.code == 2
    assert message in " ".join(ran.err.split())
    assert not list(tmp_path.iterdir())


def test_neurons_of_a_model_without_mlps_are_refused(tmp_path: Path) -> None:
    ran = call("discover", "induction", "--refine", "m0:1", "--out", tmp_path / "run")
    assert ran.code == 2
    assert "the model has no MLPs" in ran.err
