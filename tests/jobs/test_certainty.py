"""Certainty about the edges of a real search: what is repeated, resumed, stored and drawn."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import circuitgraph as cg
import circuitgraph.jobs.certainty as certainty
from circuitgraph.catalog.certainty_record import load_certainty, save_certainty
from circuitgraph.discovery.acdc import Acdc
from circuitgraph.discovery.loop import run_search
from circuitgraph.discovery.nearby_sizes import check_factors, find_nearby_circuits
from circuitgraph.discovery.random_edges import RandomEdges
from circuitgraph.discovery.subnetwork_probing import SubnetworkProbing
from circuitgraph.drawing.dot import to_dot
from circuitgraph.engine.experiment import Experiment
from circuitgraph.errors import ArgumentError, DataError, OutputError
from circuitgraph.graph.circuit import Circuit
from circuitgraph.models.language_model import LanguageModel
from circuitgraph.tasks.base import Task
from circuitgraph.tasks.loading import load_task
from tests.checkpoints import Tiny, random_prompts

SETTINGS: dict[str, Any] = {"n_samples": 3, "factors": (0.5, 2.0), "metrics": ("kl", "accuracy")}


@pytest.fixture(scope="module")
def task(shipped: LanguageModel) -> Task:
    return load_task("induction", shipped, max_words=10)


@pytest.fixture(scope="module")
def circuit(shipped: LanguageModel, task: Task) -> Circuit:
    return cg.discover(shipped, task, algorithm="random", n_edges=30, prune=False, n_prompts=6)


def test_a_stopped_measurement_goes_on_and_ends_as_one_that_was_not(
    shipped: LanguageModel,
    task: Task,
    circuit: Circuit,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole = certainty.measure_certainty(shipped, task, circuit, **SETTINGS)
    search_once, calls = certainty.find_nearby_circuits, 0

    def stop_at_fourth(*arguments: Any) -> list[Circuit]:
        nonlocal calls
        calls += 1
        if calls == 4:
            raise KeyboardInterrupt
        return search_once(*arguments)

    monkeypatch.setattr(certainty, "find_nearby_circuits", stop_at_fourth)
    journal = tmp_path / "journal"
    with pytest.raises(KeyboardInterrupt):
        certainty.measure_certainty(shipped, task, circuit, journal=journal, **SETTINGS)
    resumed = certainty.measure_certainty(shipped, task, circuit, journal=journal, **SETTINGS)
    assert calls == 7, "3 searches ended before, 3 are left"
    assert resumed.model_copy(update={"seconds": whole.seconds}) == whole
    assert [search.n_edges for search in whole.searches[:2]] == [60, 15]
    assert len(whole.searches) == 12
    with pytest.raises(ArgumentError, match="is of another search"):
        certainty.measure_certainty(shipped, task, circuit, journal=journal, **SETTINGS, seed=1)


def test_a_record_is_read_as_it_was_written_and_fades_the_drawing(
    shipped: LanguageModel, task: Task, circuit: Circuit, tmp_path: Path
) -> None:
    record = certainty.measure_certainty(shipped, task, circuit, n_samples=2, factors=(1.0,))
    assert record.metrics == [task.metric, "kl"]
    save_certainty(record, tmp_path)
    assert load_certainty(tmp_path) == record
    # a search that draws edges at random, by the same seed, keeps the same edges every time
    assert record.count_kinds(in_circuit=True) == {"core": 30, "contingent": 0, "noise": 0}
    seldom = record.edges[0].model_copy(
        update={
            "kind": "noise",
            "frequency": record.edges[0].frequency.model_copy(update={"mean": 0.0}),
        }
    )
    drawn = to_dot(circuit, certainty=record.model_copy(update={"edges": [seldom]})).source
    line = next(line for line in drawn.splitlines() if "in 0% of searches, noise" in line)
    assert "style=dotted" in line
    assert '33"' in line, "a fifth of full opacity"
    assert "dotted" not in to_dot(circuit).source


def test_files_that_are_no_certainty_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="make it with `circuitgraph stability"):
        load_certainty(tmp_path)
    (tmp_path / "certainty.json").write_text('{"mine": 1}')
    with pytest.raises(DataError, match="is not the record of certainty"):
        load_certainty(tmp_path)


def test_somebody_elses_file_is_not_replaced(
    shipped: LanguageModel, task: Task, circuit: Circuit, tmp_path: Path
) -> None:
    record = certainty.measure_certainty(shipped, task, circuit, n_samples=2, factors=(1.0,))
    (tmp_path / "certainty.json").write_text("mine")
    with pytest.raises(OutputError, match="was not written by circuitgraph"):
        save_certainty(record, tmp_path)


def test_thresholds_of_other_metrics_are_as_large_a_share_of_the_gap(tiny: Tiny) -> None:
    prompts = random_prompts(batch=3, longest=5)
    own, other = (Experiment(tiny.ours, prompts, metric=name) for name in ("kl", "log_probability"))
    gaps = []
    for experiment in (own, other):
        graph = experiment.graph
        full, empty = (
            float(experiment.values(each(graph).mask[None]).mean())
            for each in (Circuit.full, Circuit.empty)
        )
        gaps.append(abs(full - empty))
    converted = certainty._convert_threshold(Acdc(threshold=0.01), own, other)
    assert isinstance(converted, Acdc)
    assert converted.threshold == pytest.approx(0.01 * gaps[1] / gaps[0], rel=1e-5)


def test_nearby_circuits_are_those_of_searches_alone(tiny: Tiny) -> None:
    experiment = Experiment(tiny.ours, random_prompts(batch=3, longest=5), metric="kl")
    acdc, drawn = Acdc(threshold=0.0004), RandomEdges(prune=False)
    cases: list[tuple[Any, list[Any]]] = [
        (acdc, [replace(acdc, threshold=t) for t in (0.0002, 0.0008)]),
        (replace(drawn, share=0.1), [replace(drawn, share=s) for s in (0.2, 0.05)]),
        (replace(drawn, n_edges=8), [replace(drawn, n_edges=n) for n in (16, 4)]),
    ]
    for search, alone in cases:
        circuits = find_nearby_circuits(search, experiment, (0.5, 2.0))
        assert circuits == [run_search(each, experiment) for each in alone]
        assert len(circuits[0]) > len(circuits[1]) > 0


def test_factors_that_make_no_sense() -> None:
    with pytest.raises(ArgumentError, match="has no threshold or size to multiply"):
        check_factors(SubnetworkProbing(), (0.5, 1.0))
    with pytest.raises(ArgumentError, match="must be positive"):
        check_factors(Acdc(), (0.0, 1.0))
    check_factors(SubnetworkProbing(), (1.0,))


def test_a_circuit_of_no_search_is_refused(shipped: LanguageModel, task: Task) -> None:
    with pytest.raises(ArgumentError, match="does not say by what search it was found"):
        certainty.measure_certainty(shipped, task, Circuit.full(shipped.graph()))
