"""Many machines: a Dask scheduler, and workers of which one is killed in the middle of a cell."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from circuitgraph.errors import ArgumentError, MissingExtraError
from circuitgraph.jobs import cluster, sweep_grid
from circuitgraph.jobs.executors import describe_cache, open_executor
from tests.jobs.killed_cell import run_killed_cell

distributed = pytest.importorskip("distributed")

AXES: dict[str, Any] = {
    "tasks": ["constructed:count-a"],
    "algorithms": ["acdc"],
    "seeds": [0, 1, 2],
    "n_prompts": 4,
    "n_evaluation": 4,
}


@pytest.fixture(scope="module")
def machines() -> Iterator[Any]:
    """A scheduler without workers."""
    with distributed.LocalCluster(
        n_workers=0, threads_per_worker=1, dashboard_address=None, env=describe_cache()
    ) as scheduler:
        yield scheduler


def test_without_workers_nothing_hangs(machines: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "_SECONDS", 0.5)
    address = machines.scheduler_address
    with pytest.raises(ArgumentError, match="has no worker"), open_executor(scheduler=address):
        pass


def test_a_killed_worker_loses_its_own_cell_alone(
    machines: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machines.scale(2)
    address, folder = machines.scheduler_address, tmp_path / "sweep"
    with monkeypatch.context() as patch:
        patch.setattr(sweep_grid, "run_cell", run_killed_cell)
        record = sweep_grid.sweep_grid(folder, scheduler=address, **AXES)
    assert [cell.failed for cell in record.cells] == [None] * 3
    tries = [(tmp_path / f"searches-{seed}").read_text().split() for seed in (0, 1, 2)]
    assert [len(each) for each in tries] == [1, 2, 1]
    assert tries[1][0] == "0"
    assert int(tries[1][1]) > 0, "the second try goes on from the journal of the first"
    elsewhere = open_executor(scheduler=address, folder=tmp_path / "elsewhere")
    with pytest.raises(ArgumentError, match=r"does not see .*elsewhere"), elsewhere:
        pass


@pytest.mark.parametrize("address", ["zzz", "tcp://zzz", "../etc/passwd", "a b:1", "x" * 20_000])
def test_no_addresses(address: str) -> None:
    with pytest.raises(ArgumentError, match="is no address"), open_executor(scheduler=address):
        pass


def test_no_scheduler_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "_SECONDS", 0.5)
    with (
        pytest.raises(ArgumentError, match="No Dask scheduler answers at 'localhost:1'"),
        open_executor(scheduler="localhost:1"),
    ):
        pass


def test_a_scheduler_has_its_own_workers() -> None:
    with pytest.raises(ArgumentError, match="4 workers"), open_executor(4, "tcp://a:1"):
        pass


def test_without_the_package_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(MissingExtraError, match="cluster"), open_executor(scheduler="tcp://a:1"):
        pass
