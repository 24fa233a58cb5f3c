"""Records that somebody else wrote: sizes are compared before a graph is built, settings typed."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file

from circuitgraph.catalog.files import (
    count_graph,
    load_circuit,
    load_record,
    make_graph,
    make_graph_record,
)
from circuitgraph.errors import DataError
from circuitgraph.graph.graph import Graph

CIRCUIT = Path(__file__).parents[2] / "catalog" / "circuits" / "induction-2l" / "induction" / "acdc"


@given(st.integers(1, 4), st.integers(1, 3), st.integers(1, 2), *(st.booleans() for _ in range(5)))
@settings(max_examples=60, deadline=None)
def test_counts_of_a_record_are_those_of_its_graph(
    n_layers: int,
    n_kv: int,
    group: int,
    mlp: bool,
    direct: bool,
    parallel: bool,
    grouped: bool,
    own_inputs: bool,
) -> None:
    graph = Graph(
        n_layers,
        n_kv * group,
        mlp,
        direct=direct and not grouped,
        parallel=parallel,
        n_kv_heads=n_kv if grouped else None,
    )
    if mlp:
        graph = graph.refine("m0", neurons=[3, 1], own_inputs=own_inputs)
        last = f"m{n_layers - 1}"
        graph = graph.refine(last, features=[4], own_inputs=True) if n_layers > 1 else graph
    record = make_graph_record(graph)
    assert count_graph(record) == (record.n_writers, record.n_readers, record.n_edges)
    assert make_graph(record) == graph


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    shutil.copytree(CIRCUIT, tmp_path / "circuit")
    return tmp_path / "circuit"


def change_record(folder: Path, *names: str, value: Any) -> None:
    file = folder / "circuit.json"
    content = json.loads(file.read_text())
    holder = content
    for name in names[:-1]:
        holder = holder[name]
    holder[names[-1]] = value
    file.write_text(json.dumps(content))


def test_a_graph_of_other_counts_is_not_built(folder: Path) -> None:
    change_record(folder, "graph", "n_layers", value=10**12)
    start = time.perf_counter()
    with pytest.raises(DataError, match="which is not what it says"):
        load_circuit(folder)
    assert time.perf_counter() - start < 2


def test_an_edge_with_a_number_of_thousands_of_digits_is_refused(folder: Path) -> None:
    edges = [{"edge": f"a{'9' * 5001}.h0->logits", "effect": None}]
    change_record(folder, "edges", value=edges)
    with pytest.raises(DataError, match="too long for the name of a node"):
        load_circuit(folder)


def test_a_graph_beyond_what_is_stored_is_not_built(folder: Path) -> None:
    record = load_record(folder).graph.model_copy(update={"n_layers": 10**6})
    counts: dict[str, Any] = dict(
        zip(("n_writers", "n_readers", "n_edges"), count_graph(record), strict=True)
    )
    change_record(folder, "graph", value=record.model_copy(update=counts).model_dump())
    with pytest.raises(DataError, match=r"scores\.safetensors cannot be read: it has"):
        load_circuit(folder)
    (folder / "scores.safetensors").unlink()
    with pytest.raises(DataError, match="of so many there must be a scores"):
        load_circuit(folder)


@pytest.mark.parametrize(
    ("names", "value", "phrase"),
    [
        (("task", "arguments"), {"data": 5}, "data is a int, but must be str"),
        (("task", "arguments"), {"seed": 5}, "'seed' has a field of its own"),
        (("task", "seed"), -1, "task.seed"),
        (("algorithm", "arguments", "threshold"), "x", "threshold is a str, but must be int or"),
        (("model", "options"), {"config": 5}, "config is a int"),
        (("model", "options"), {"device": "x"}, "'device' is no option"),
        (("model", "options"), {"ignore_config_fields": [5]}, "must be names"),
    ],
)
def test_settings_of_a_record_are_typed(
    folder: Path, names: tuple[str, ...], value: Any, phrase: str
) -> None:
    change_record(folder, *names, value=value)
    with pytest.raises(DataError, match=phrase):
        load_circuit(folder)


def test_scores_of_another_kind_are_refused(folder: Path) -> None:
    circuit = load_circuit(folder)
    file = folder / "scores.safetensors"
    n = len(circuit.mask)
    header = {"effect": {"dtype": "F8_E4M3", "shape": [n], "data_offsets": [0, n]}}
    text = json.dumps(header).encode()
    file.write_bytes(len(text).to_bytes(8, "little") + text + bytes(n))
    with pytest.raises(DataError, match=r"scores\.safetensors"):
        load_circuit(folder)
    save_file({"effect": np.full(n, np.nan)}, file)
    with pytest.raises(DataError, match="no finite numbers"):
        load_circuit(folder)
