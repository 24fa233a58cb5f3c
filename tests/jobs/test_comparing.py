"""Circuits compared: planted overlap is beyond chance, random overlap is not, heads are matched."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from circuitgraph.analysis import matched_heads
from circuitgraph.errors import ArgumentError, ModelError
from circuitgraph.graph.circuit import Circuit
from circuitgraph.graph.graph import Graph
from circuitgraph.graph.random_circuits import RandomCircuits
from circuitgraph.jobs.compare import compare_circuits
from circuitgraph.models.language_model import LanguageModel

GRAPH, SMALL = Graph(3, 4), Graph(2, 3)


def of(circuit: Circuit, model: str = "m", task: str = "t") -> Circuit:
    return replace(circuit, provenance={"model": {"name": model}, "task": {"name": task}})


@pytest.fixture(scope="module")
def circuits() -> dict[str, Circuit]:
    rng = np.random.default_rng(1)
    random = RandomCircuits(GRAPH)
    first = random.draw_circuit(40, rng)
    near = first.without(first.edges[:10]) | random.draw_circuit(12, rng)
    return {"first": of(first), "near": of(near), "far": of(random.draw_circuit(40, rng))}


def test_circuits_of_one_model(circuits: dict[str, Circuit]) -> None:
    record = compare_circuits(circuits, n_draws=39)
    near, far, _ = record.pairs
    one, two = set(circuits["first"].edges), set(circuits["near"].edges)
    assert near.edges is not None
    assert near.edges.n_shared == len(one & two)
    assert near.edges.jaccard == pytest.approx(len(one & two) / len(one | two))
    assert near.edges.p == pytest.approx(1 / 40)
    assert near.edges_by_degree is not None
    assert near.edges_by_degree.p == pytest.approx(1 / 40)
    assert far.edges is not None
    assert far.edges.p > 0.05
    assert far.nodes is not None
    assert far.nodes.p > 0.05
    shared = set.intersection(*(set(c.nodes) for c in circuits.values())) - {"embed", "logits"}
    assert set(record.in_all["m"]) == shared
    assert set(near.shared_nodes) >= shared
    assert compare_circuits(circuits, n_draws=39) == record, "the same seed, the same draws"


def test_heads_of_two_models_are_matched_by_type(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two previous-token and two induction heads in each model, elsewhere, are the circuits'."""
    evidence = {"big": np.zeros((3, 4, 3)), "small": np.zeros((2, 3, 3))}
    places = {"big": [(0, 1), (0, 3), (2, 0), (2, 2)], "small": [(0, 0), (0, 2), (1, 1), (1, 2)]}
    for name, heads in places.items():
        for strength, (layer, head), kind in zip((0.9, 0.7) * 2, heads, (0, 0, 2, 2), strict=True):
            evidence[name][layer, head, kind] = strength
    models = {name: object.__new__(LanguageModel) for name in evidence}  # nothing asks of them
    names = {id(model): name for name, model in models.items()}
    measure = lambda model: SimpleNamespace(evidence=evidence[names[id(model)]])  # noqa: E731
    monkeypatch.setattr(matched_heads, "measure_types", measure)

    def load(circuit: Circuit) -> LanguageModel:
        return models[circuit.provenance["model"]["name"]]

    circuits = {
        name: of(
            Circuit.of(graph, [f"a{layer}.h{head}->logits" for layer, head in places[name]]), name
        )
        for name, graph in (("big", GRAPH), ("small", SMALL))
    }
    record = compare_circuits(circuits, load, n_draws=199)
    (pair,) = record.pairs
    assert pair.heads is not None
    assert (pair.heads.n_shared, pair.heads.jaccard) == (4, 1.0)
    assert pair.heads.p < 0.05
    rated = {(each.circuit, each.type): each for each in record.types}
    strongest = rated["small", "induction"]
    assert (strongest.head, strongest.evidence, strongest.n_named) == ("a1.h1", 0.9, 2)
    # of 6 heads 4 are drawn: the strongest is among them in 4 of 6 draws
    assert strongest.p == pytest.approx(4 / 6)
    assert rated["big", "duplicate-token"].p == pytest.approx(1.0), "no head is of that type"
    named = {(head.one, head.other, head.type) for head in pair.matched_heads}
    assert named == {
        ("a0.h1", "a0.h0", "previous-token"),
        ("a0.h3", "a0.h2", "previous-token"),
        ("a2.h0", "a1.h1", "induction"),
        ("a2.h2", "a1.h2", "induction"),
    }


def test_a_model_that_cannot_be_read_leaves_its_pairs_out() -> None:
    def load(circuit: Circuit) -> Any:
        raise ModelError("it is gone")

    circuits = {"a": of(Circuit.full(GRAPH), "big"), "b": of(Circuit.full(SMALL), "small")}
    (pair,) = compare_circuits(circuits, load).pairs
    assert (pair.heads, pair.problem) == (None, "big: it is gone; small: it is gone")
    assert compare_circuits(circuits).pairs == [], "no model is to be loaded"


def test_refusals(circuits: dict[str, Circuit]) -> None:
    with pytest.raises(ArgumentError, match="number of circuits is 1"):
        compare_circuits({"a": circuits["first"]})
    with pytest.raises(ArgumentError, match="'b' does not say of what model"):
        compare_circuits({"a": circuits["first"], "b": Circuit.full(GRAPH)})
