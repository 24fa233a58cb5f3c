"""A submission folder: nine sizes, chosen by score or by what the search decided."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from circuitgraph.catalog.formats.base import decoders
from circuitgraph.errors import ArgumentError, OutputError
from circuitgraph.graph.circuit import Circuit
from circuitgraph.graph.graph import Graph
from circuitgraph.jobs.export import export_circuit

GRAPH = Graph(4, 4)  # 479 edges
SIZES = {"0.1": 0, "0.2": 0, "0.5": 2, "1": 4, "2": 9, "5": 23, "10": 47, "20": 95, "50": 239}
SCORES = np.random.default_rng(0).normal(size=GRAPH.n_edges)


def read(folder: Path) -> dict[str, Circuit]:
    paths = sorted(folder.iterdir())
    return {p.stem: decoders["mib-pt"].decode_file(p, None).circuit for p in paths}


def test_nine_sizes_by_score(tmp_path: Path) -> None:
    circuit = Circuit(GRAPH, np.zeros(GRAPH.n_edges, bool), SCORES)
    for absolute in (True, False):
        folder = tmp_path / str(absolute)
        notes = export_circuit(circuit, folder, "mib-submission", d_model=8, absolute=absolute)
        assert notes == ()
        order = np.argsort(-(np.abs(SCORES) if absolute else SCORES))
        circuits = read(folder)
        assert {name: len(each) for name, each in circuits.items()} == SIZES
        for each in circuits.values():
            assert set(np.flatnonzero(each.mask)) == set(order[: len(each)])
            assert each.scores is not None
            assert np.array_equal(each.scores, SCORES)
    for path in (tmp_path / "True").iterdir():
        content = torch.load(path, weights_only=True)  # as the evaluator reads it
        assert content["edges_in_graph"].sum().item() == SIZES[path.stem]


def test_greedy_circuits_hang_together(tmp_path: Path) -> None:
    circuit = Circuit(GRAPH, np.zeros(GRAPH.n_edges, bool), SCORES)
    export_circuit(circuit, tmp_path / "it", "mib-submission", d_model=8, selection="greedy")
    circuits = read(tmp_path / "it")
    assert {name: len(each) for name, each in circuits.items()} == SIZES
    for each in circuits.values():
        writers = {edge.split("->")[0] for edge in each.edges}
        entered = {edge.split("->")[1].split("<")[0] for edge in each.edges}
        assert entered <= writers | {"logits"}
    with pytest.raises(ArgumentError, match="selection is 'best'"):
        export_circuit(circuit, tmp_path / "x", "mib-submission", d_model=8, selection="best")


def test_of_a_search_that_decides_one_by_one_kept_edges_come_first(tmp_path: Path) -> None:
    mask, tested = np.random.default_rng(1).random((2, GRAPH.n_edges)) < [[0.05], [0.5]]
    tested |= mask
    search: dict[str, Any] = {"name": "acdc", "n_selected": None}
    circuit = Circuit(GRAPH, mask, np.where(tested, SCORES, 0.0), tested, {"algorithm": search})
    notes = " ".join(export_circuit(circuit, tmp_path / "it", "mib-submission", d_model=8))
    assert "its own edges come first" in notes
    circuits = read(tmp_path / "it")
    for each in circuits.values():
        assert each <= circuit if len(each) <= len(circuit) else circuit <= each
    everything = replace(circuit, tested=None, provenance={"algorithm": {"n_selected": 9}})
    notes = " ".join(export_circuit(everything, tmp_path / "other", "mib-submission", d_model=8))
    assert "come first" not in notes


def test_a_folder_that_is_there_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "it").mkdir()
    for overwrite in (False, True):
        with pytest.raises(OutputError, match="exists already"):
            export_circuit(
                Circuit.full(GRAPH),
                tmp_path / "it",
                "mib-submission",
                overwrite=overwrite,
                d_model=8,
            )
