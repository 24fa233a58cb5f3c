"""What is saved is what is loaded, and circuit.json is laid out to be read in git."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from circuitgraph.catalog.files import load_circuit, load_record, make_circuit_record, save_circuit
from circuitgraph.catalog.records import EvaluationRecord, Interval
from circuitgraph.errors import DataError
from circuitgraph.graph.circuit import Circuit
from circuitgraph.graph.graph import Graph

TOP_LEVEL = {
    "schema_version",
    "model",
    "task",
    "metric",
    "ablation",
    "algorithm",
    "graph",
    "edges",
    "evaluation",
}
ALGORITHM = {
    "name": "acdc",
    "arguments": {"edges": [], "threshold": 0.1},
    "n_tested": 3,
    "n_selected": 5,
    "close_calls": [],
    "score": "made by hand",
    "seconds": 1.5,
}
POINT = Interval(mean=0.5, low=0.25, high=1.0)
EVALUATION = EvaluationRecord(
    metric="kl",
    ablation="zero",
    split="evaluation",
    seed=3,
    n_prompts=7,
    prompts_sha256="ab",
    full=POINT,
    empty=POINT,
    circuit=POINT,
    faithfulness=None,
    random_faithfulness=POINT,
    n_random=20,
)


MOST = Graph(2, 2, mlp=True, direct=True).n_edges


def per_edge(values: st.SearchStrategy[Any]) -> st.SearchStrategy[list[Any]]:
    return st.lists(values, min_size=MOST, max_size=MOST)


# What makes a circuit of a small graph, with any scores, tested or not; more than it needs, to be
# cut to size.
shapes = st.tuples(st.integers(1, 2), st.integers(1, 2), st.booleans(), st.booleans())
numbers = st.floats(allow_nan=False, allow_infinity=False)
facts = st.sampled_from([{}, {"metric": "kl", "ablation": "zero", "algorithm": ALGORITHM}])
anything = st.tuples(
    shapes,
    per_edge(st.booleans()),
    st.none() | per_edge(numbers),
    st.none() | per_edge(st.booleans()),
    facts,
)


def circuit_of(parts: tuple[Any, ...]) -> Circuit:
    shape, mask, scores, tested, provenance = parts
    graph = Graph(*shape)
    n = graph.n_edges
    return Circuit(
        graph,
        np.array(mask[:n], bool),
        None if scores is None else np.array(scores[:n], np.float64),
        None if scores is None or tested is None else np.array(tested[:n], bool),
        provenance,
    )


def same(one: np.ndarray | None, other: np.ndarray | None) -> bool:
    return (one is None) == (other is None) and (
        one is None or np.array_equal(one, np.asarray(other))
    )


@settings(max_examples=80)
@given(parts=anything, judged=st.booleans())
def test_saved_is_loaded(
    tmp_path_factory: pytest.TempPathFactory, parts: tuple[Any, ...], judged: bool
) -> None:
    circuit = circuit_of(parts)
    folder = save_circuit(
        circuit, tmp_path_factory.mktemp("saved") / "it", evaluation=EVALUATION if judged else None
    )
    for path in (folder, str(folder), folder / "circuit.json"):
        loaded = load_circuit(path)
        assert loaded == circuit
        assert same(loaded.scores, circuit.scores)
        assert same(loaded.tested, circuit.tested)
        assert loaded.provenance.items() >= circuit.provenance.items()
    assert load_record(folder) == make_circuit_record(circuit, EVALUATION if judged else None)


@settings(max_examples=30)
@given(parts=anything)
def test_saving_what_was_loaded_changes_no_byte(
    tmp_path_factory: pytest.TempPathFactory, parts: tuple[Any, ...]
) -> None:
    circuit = circuit_of(parts)
    folder = tmp_path_factory.mktemp("saved")
    first = save_circuit(circuit, folder / "first")
    second = save_circuit(load_circuit(first), folder / "second")
    for name in ("circuit.json", "scores.safetensors"):
        assert (first / name).read_bytes() == (second / name).read_bytes()


@settings(max_examples=30)
@given(parts=anything)
def test_effect_is_that_of_tested_edges_only(parts: tuple[Any, ...]) -> None:
    circuit = circuit_of(parts)
    for edge in make_circuit_record(circuit).edges:
        i = circuit.graph.edge_index(edge.edge)
        known = circuit.scores is not None and (circuit.tested is None or circuit.tested[i])
        assert edge.effect == (circuit.scores[i] if known and circuit.scores is not None else None)


@given(parts=anything)
@settings(max_examples=30)
def test_layout_of_circuit_json(parts: tuple[Any, ...]) -> None:
    circuit = circuit_of(parts)
    text = make_circuit_record(circuit, EVALUATION).to_json()
    content, lines = json.loads(text), text.splitlines()
    assert set(content) >= TOP_LEVEL
    assert text.endswith("}\n")
    assert [line.count('"edge": ') for line in lines if '"edge": ' in line] == [1] * len(circuit)
    assert [edge["edge"] for edge in content["edges"]] == circuit.edges

    def keys_are_sorted(value: Any) -> bool:
        if isinstance(value, list):
            return all(map(keys_are_sorted, value))
        return not isinstance(value, dict) or (
            list(value) == sorted(value) and all(map(keys_are_sorted, value.values()))
        )

    assert keys_are_sorted(content)


def test_one_more_edge_is_one_more_line() -> None:
    graph = Graph(1, 2)
    few = (
        make_circuit_record(Circuit.of(graph, ["embed->logits", "embed->m0"]))
        .to_json()
        .splitlines()
    )
    more = (
        make_circuit_record(Circuit.of(graph, ["embed->logits", "embed->m0", "embed->a0.h1<q>"]))
        .to_json()
        .splitlines()
    )
    assert len([line for line in more if line not in few]) == 1
    assert len(more) == len(few) + 1


def test_json_alone_gives_the_circuit_with_the_effects_it_names(tmp_path: Path) -> None:
    graph = Graph(1, 1)
    mask = Circuit.of(graph, ["embed->logits", "a0.h0->logits"]).mask
    tested = mask & (np.arange(graph.n_edges) == graph.edge_index("embed->logits"))
    folder = save_circuit(
        Circuit(graph, mask, np.full(graph.n_edges, 0.5), tested), tmp_path / "it"
    )
    (folder / "scores.safetensors").unlink()
    loaded = load_circuit(folder)
    assert same(loaded.tested, tested)
    assert same(loaded.scores, np.where(tested, 0.5, 0.0))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_score_that_json_cannot_hold(tmp_path: Path, value: float) -> None:
    graph = Graph(1, 1)
    with pytest.raises(DataError, match=r"score of embed->a0.h0<q> is (nan|inf|-inf)"):
        save_circuit(
            Circuit(graph, np.ones(graph.n_edges, bool), np.full(graph.n_edges, value)),
            tmp_path / "it",
        )
    assert list(tmp_path.iterdir()) == []


def test_provenance_that_the_record_does_not_know(tmp_path: Path) -> None:
    circuit = Circuit(
        Graph(1, 1), np.ones(Graph(1, 1).n_edges, bool), provenance={"tested": 5, "metric": 7}
    )
    with pytest.raises(DataError, match="cannot be stored") as caught:
        save_circuit(circuit, tmp_path / "it")
    assert "tested: Extra inputs are not permitted" in str(caught.value)
    assert "metric: Input should be a valid string" in str(caught.value)
    assert list(tmp_path.iterdir()) == []
