"""All or nothing when writing, and damaged files when reading."""

from __future__ import annotations

import errno
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from circuitgraph.catalog.files import load_circuit, load_record, save_circuit
from circuitgraph.catalog.folders import find_beside, new_folder
from circuitgraph.errors import DataError, OutputError
from circuitgraph.graph.circuit import Circuit
from circuitgraph.graph.graph import Graph


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    graph = Graph(2, 2)
    circuit = Circuit.random(graph, 12, np.random.default_rng(0))
    scores = np.random.default_rng(1).normal(size=graph.n_edges)
    return save_circuit(Circuit(graph, circuit.mask, scores, circuit.mask), tmp_path / "saved")


def write_half(folder: Path, error: BaseException, *, overwrite: bool = False) -> None:
    with new_folder(folder, overwrite=overwrite) as inside:
        (inside / "circuit.json").write_text("half")
        raise error


@pytest.mark.parametrize("error", [ValueError("any"), KeyboardInterrupt(), SystemExit(1)])
@pytest.mark.parametrize("folder", ["new", "deep/down/new"])
def test_an_exception_inside_leaves_nothing(
    tmp_path: Path, error: BaseException, folder: str
) -> None:
    with pytest.raises(type(error)):
        write_half(tmp_path / folder, error)
    assert list(tmp_path.iterdir()) == []


def test_an_exception_inside_leaves_the_old_folder_and_what_lies_beside(saved: Path) -> None:
    (saved.parent / "other").write_text("x")
    before = {path: path.read_bytes() for path in saved.parent.rglob("*") if path.is_file()}
    with pytest.raises(OutputError, match="No space"):
        write_half(saved, OSError(errno.ENOSPC, "No space left on device"), overwrite=True)
    assert {path: path.read_bytes() for path in saved.parent.rglob("*") if path.is_file()} == before


def test_nothing_is_at_the_place_before_all_is_written(tmp_path: Path) -> None:
    with new_folder(tmp_path / "new") as inside:
        (inside / "a").write_text("a")
        assert not (tmp_path / "new").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["new"]


def test_taken_folder_is_refused_unless_it_may_be_overwritten(saved: Path) -> None:
    circuit = Circuit.empty(Graph(1, 1))
    with pytest.raises(OutputError, match="exists already"):
        save_circuit(circuit, saved)
    assert len(load_circuit(saved)) == 12
    save_circuit(circuit, saved, overwrite=True)
    assert load_circuit(saved) == circuit
    assert [path.name for path in saved.parent.iterdir()] == ["saved"]


def test_the_folder_one_stands_in_can_be_overwritten(
    saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(saved)
    save_circuit(Circuit.empty(Graph(1, 1)), ".", overwrite=True)
    assert len(load_circuit(saved)) == 0


@pytest.mark.parametrize("other", ["notes.md", "circuits", ".git"])
def test_foreign_files_are_not_overwritten(saved: Path, other: str) -> None:
    (saved / other).write_text("mine")
    with pytest.raises(OutputError, match=rf"other things than a circuit \({other}\)"):
        save_circuit(Circuit.empty(Graph(1, 1)), saved, overwrite=True)
    assert (saved / other).read_text() == "mine"


def test_a_file_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(OutputError, match="Not a directory"):
        save_circuit(Circuit.empty(Graph(1, 1)), tmp_path / "file", overwrite=True)
    assert (tmp_path / "file").read_text() == "mine"


def test_file_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(
        OutputError, match=r"Nothing was written to .*file/new.*Choose another folder"
    ):
        save_circuit(Circuit.empty(Graph(1, 1)), tmp_path / "file" / "new")


def edit(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    content = json.loads((folder / "circuit.json").read_text())
    change(content)
    (folder / "circuit.json").write_text(json.dumps(content))


@pytest.mark.parametrize(
    "content", ["", "{", "null", "[]", "5", '{"edges": []}', '{"schema_version": "one"}']
)
def test_file_that_is_no_record(saved: Path, content: str) -> None:
    (saved / "circuit.json").write_text(content)
    with pytest.raises(DataError, match=r"circuit\.json"):
        load_record(saved)


def test_bytes_that_are_no_text(saved: Path) -> None:
    (saved / "circuit.json").write_bytes(b"\xff\xfe\x00{}")
    with pytest.raises(DataError, match="cannot be read as JSON"):
        load_record(saved)


def test_all_problems_of_a_record_are_listed(saved: Path) -> None:
    edit(saved, lambda record: record.update(colour="red", metric=5, graph={"n_layers": 1}))
    with pytest.raises(DataError) as caught:
        load_record(saved)
    for problem in (
        "colour: Extra inputs",
        "metric: Input should be a valid string",
        "graph.n_heads: Field required",
    ):
        assert problem in str(caught.value)


def test_newer_schema_says_to_update(saved: Path) -> None:
    edit(saved, lambda record: record.update(schema_version=4, invention=True))
    with pytest.raises(
        DataError, match=r"schema version 4; this circuitgraph reads up to 3: update it"
    ):
        load_circuit(saved)


CHANGES: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "an edge less": (lambda record: record["edges"].pop(), "keep different edges"),
    "another effect": (
        lambda record: record["edges"][0].update(effect=9.0),
        "give different effects",
    ),
    "no such node": (
        lambda record: record["edges"][0].update(edge="a7.h0->logits"),
        "Unknown writer 'a7.h0'",
    ),
    "no name": (
        lambda record: record["edges"][0].update(edge="here to there"),
        "not the name of an edge",
    ),
    "no such edge": (
        lambda record: record["edges"][0].update(edge="m1->a0.h0<q>"),
        "is not an edge",
    ),
    "another graph": (lambda record: record["graph"].update(n_layers=3), "is not what it says"),
    "no graph": (lambda record: record["graph"].update(n_heads=-1), "n_heads is -1"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_circuit_json_that_contradicts_itself_or_the_scores(saved: Path, change: str) -> None:
    edit(saved, CHANGES[change][0])
    with pytest.raises(DataError, match=CHANGES[change][1]) as caught:
        load_circuit(saved)
    assert str(saved / "circuit.json") in str(caught.value)


@pytest.mark.parametrize("keep", [0, 7, 100, -1])
def test_truncated_scores(saved: Path, keep: int) -> None:
    file = saved / "scores.safetensors"
    file.write_bytes(file.read_bytes()[:keep])
    with pytest.raises(DataError, match=r"scores\.safetensors cannot be read"):
        load_circuit(saved)


@pytest.mark.parametrize("name", ["mask", "effect", "tested"])
def test_scores_of_another_size(saved: Path, name: str) -> None:
    arrays = load_file(saved / "scores.safetensors")
    save_file({**arrays, name: arrays[name][:-1].copy()}, saved / "scores.safetensors")
    with pytest.raises(DataError, match=f"has '{name}' of shape"):
        load_circuit(saved)


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no circuit at .*expected a folder with circuit\.json"):
        load_circuit(tmp_path)


@pytest.mark.parametrize("name", ["a\0b", "x" * 5000, "~nobody-of-that-name/x"])
def test_a_name_that_no_file_can_have_stays_as_it_is(tmp_path: Path, name: str) -> None:
    assert find_beside(name, tmp_path / "circuit") == name
