"""A sweep: bad cells are refused together, circuits land in a catalog, nothing is done twice."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from circuitgraph.catalog.store import Catalog
from circuitgraph.catalog.sweep_record import SWEEP_CELLS, SweepCell, SweepRecord
from circuitgraph.discovery.loop import run_search
from circuitgraph.errors import ArgumentError, DataError, OutputError, SearchError
from circuitgraph.jobs import discover, sweep_grid
from circuitgraph.jobs.executors import LocalProcesses
from circuitgraph.jobs.grid import SearchGrid

TASK = "constructed:count-a"
AXES: dict[str, Any] = {
    "tasks": [TASK],
    "algorithms": ["exact"],
    "sizes": [3],
    "seeds": [0, 1],
    "n_prompts": 4,
    "n_evaluation": 4,
}


def make_grid(**changes: Any) -> SearchGrid:
    return SearchGrid(**{**AXES, **changes})


def sweep(folder: Path, **changes: Any) -> SweepRecord:
    return sweep_grid.sweep_grid(folder, **{**AXES, **changes})


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, SweepRecord]:
    folder = tmp_path_factory.mktemp("swept") / "sweep"
    return folder, sweep(folder)


def test_circuits_land_in_a_catalog(swept: tuple[Path, SweepRecord]) -> None:
    folder, record = swept
    names = [cell.entry for cell in record.cells]
    stem = "constructed-count-a/constructed-count-a/exact-n_edges-3"
    assert names == [stem, f"{stem}-seed-1"]
    listing = Catalog(folder).list()
    assert ([each.entry for each in listing], listing.problems) == (names, {})
    for cell, summary in zip(record.cells, listing, strict=True):
        assert cell.score is not None
        assert cell.score.n_edges == summary.n_edges
        assert cell.score.random_faithfulness is not None
        assert summary.random is not None
        assert cell.score.random_faithfulness.mean == summary.random[0]
        assert cell.score.n_evaluation == 4


def test_the_tables_have_a_line_for_each_circuit(swept: tuple[Path, SweepRecord]) -> None:
    folder, record = swept
    assert SweepRecord.model_validate_json((folder / "sweep.json").read_text()) == record
    lines = (folder / "sweep.csv").read_text().splitlines()
    assert [line.partition(",")[0] for line in lines[1:]] == [cell.entry for cell in record.cells]


def test_nothing_is_done_twice(
    swept: tuple[Path, SweepRecord], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, record = swept
    monkeypatch.setattr(sweep_grid, "run_cell", lambda _: pytest.fail("a cell was run"))
    assert sweep(folder) == record


@pytest.mark.parametrize("lost", ["entry", "question"])
def test_what_is_not_wholly_there_is_done_again(
    swept: tuple[Path, SweepRecord], lost: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cell without its circuit, or of another question of the same name, is not finished."""
    folder, record = swept
    jobs: list[Any] = []

    def note_job(job: Any) -> Any:
        jobs.append(job["question"]["seed"])
        return record.cells[job["question"]["seed"]].model_dump(mode="json")

    monkeypatch.setattr(sweep_grid, "run_cell", note_job)
    if lost == "entry":
        moved = folder / "circuits" / f"{record.cells[1].entry}"
        moved.rename(folder / "aside")
        sweep(folder)
        (folder / "aside").rename(moved)
        assert jobs == [1]
    else:
        sweep(folder, n_evaluation=6)
        assert jobs == [0, 1]


def test_a_failure_is_written_down_and_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = sweep_grid.find_circuit

    def fail_once(bench: Any, plan: Any) -> Any:
        if bench.task.seed == 0:
            raise SearchError("it does not fit")
        return usual(bench, plan)

    monkeypatch.setattr(sweep_grid, "find_circuit", fail_once)
    record = sweep(tmp_path)
    assert [cell.failed for cell in record.cells] == ["it does not fit", None]
    assert "it does not fit" in (tmp_path / "sweep.csv").read_text()
    monkeypatch.setattr(sweep_grid, "find_circuit", usual)
    assert [cell.failed for cell in sweep(tmp_path).cells] == [None, None]


def test_an_interrupted_cell_goes_on_from_its_journal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    axes: dict[str, Any] = {"algorithms": ["acdc"], "sizes": (), "seeds": [0]}
    sizes: list[int] = []

    def interrupt(algorithm: Any, experiment: Any, **options: Any) -> Any:
        path = options["journal"].path
        sizes.append(path.stat().st_size if path.is_file() else 0)
        circuit = run_search(algorithm, experiment, **options)
        if len(sizes) == 1:
            raise KeyboardInterrupt
        return circuit

    monkeypatch.setattr(discover, "run_search", interrupt)
    with pytest.raises(KeyboardInterrupt):
        sweep(tmp_path, **axes)
    assert list(Catalog(tmp_path).list()) == []
    assert sweep(tmp_path, **axes).cells[0].score is not None
    assert sizes[0] == 0
    assert sizes[1] > 0
    assert list((tmp_path / "journals").iterdir()) == []


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "task": ({"tasks": ["zzz"]}, "Unknown task 'zzz'"),
    "model": ({"models": ["ioi"]}, "ioi has not learned 'constructed:count-a', only ioi"),
    "no threshold": (
        {"algorithms": ["edge-pruning"], "sizes": (), "thresholds": [0.1]},
        "edge-pruning: it has no threshold",
    ),
    "no size": ({"algorithms": ["acdc", "random"]}, "acdc: it has no n_edges"),
    "setting": ({"settings": {"stpes": 1}}, "'stpes'"),
    "algorithm": ({"algorithms": ["randon"]}, "Unknown algorithm 'randon'"),
    "metric": ({"algorithms": ["eap"]}, "cannot work with metric 'kl'"),
    "ablation": ({"ablations": ["resampl"]}, "'resample'"),
    "data": ({"tasks": ["gone.jsonl"], "models": ["ioi"]}, "no data file 'gone.jsonl'"),
    "data without model": ({"tasks": [__file__ + ".csv"]}, "no data file"),
    "nothing": ({"tasks": ()}, "There are no tasks"),
    "twice": ({"seeds": [1, 1]}, "seeds are 1, 1"),
    "seed": ({"seeds": [-1]}, "a seed is -1"),
    "prompts": ({"n_prompts": 0}, "n_prompts is 0"),
    "threshold": ({"thresholds": [-1.0], "algorithms": ["acdc"]}, "-1"),
    "too many": ({"seeds": range(100_001)}, "at most 100,000"),
}


@pytest.mark.parametrize("case", BAD)
def test_cells_without_sense(case: str) -> None:
    axes, phrase = BAD[case]
    with pytest.raises(ArgumentError) as error:
        make_grid(**axes).list_cells()
    assert phrase in str(error.value)


def test_all_problems_are_said_at_once() -> None:
    axes = {"tasks": ["zzz", TASK], "algorithms": ["acdc", "random"], "metrics": ["nope"]}
    with pytest.raises(ArgumentError) as error:
        make_grid(**axes).list_cells()
    assert str(error.value).count("\n  - ") == 3


def test_models_whose_folders_would_be_one(tmp_path: Path) -> None:
    axes = {"models": [str(tmp_path / "a" / "gpt2"), str(tmp_path / "b" / "GPT2")]}
    with pytest.raises(ArgumentError, match="would both be"):
        make_grid(**axes).list_cells()


def test_axes_reach_the_algorithms_that_have_them() -> None:
    axes: dict[str, Any] = {"algorithms": ["acdc", "exact"], "thresholds": [0.1, 1.0], "sizes": [2]}
    cells = make_grid(**axes, seeds=[0]).list_cells()
    assert [(cell.algorithm, cell.arguments) for cell in cells] == [
        ("acdc", {"threshold": 0.1}),
        ("acdc", {"threshold": 1.0}),
        ("exact", {"threshold": 0.1}),
        ("exact", {"threshold": 1.0}),
        ("exact", {"n_edges": 2}),
    ]


def test_settings_that_are_no_name_get_a_hash() -> None:
    question = make_grid().list_cells()[0]
    odd = [question.model_copy(update={"arguments": {"way": way}}) for way in ("a/b", "a b")]
    slugs = {each.entry.slug for each in odd}
    assert len(slugs) == 2
    assert all(slug.startswith("exact-way-a-b-") for slug in slugs)


def test_a_folder_of_something_else(tmp_path: Path) -> None:
    (tmp_path / "sweep.csv").write_text("mine\n")
    with pytest.raises(OutputError, match=r"sweep\.csv"):
        sweep(tmp_path)


def test_a_damaged_cell_is_named(tmp_path: Path) -> None:
    question = make_grid().list_cells()[0]
    file = SWEEP_CELLS.locate(tmp_path / "cells", question)
    file.parent.mkdir(parents=True)
    file.write_text("{}")
    with pytest.raises(DataError, match="no cell of a sweep: remove it"):
        sweep(tmp_path)


def test_another_process_gives_the_same_bit_for_bit(
    swept: tuple[Path, SweepRecord], tmp_path: Path
) -> None:
    folder, record = swept
    with LocalProcesses(1) as process:
        other = sweep(tmp_path, executor=process)
    assert [_leave_out_time(cell) for cell in other.cells] == [
        _leave_out_time(cell) for cell in record.cells
    ]
    for cell in record.cells:
        one, two = (place / "circuits" / cell.entry for place in (folder, tmp_path))
        assert [path.name for path in sorted(one.iterdir())] == [
            path.name for path in sorted(two.iterdir())
        ]
        file = "scores.safetensors"
        assert (one / file).read_bytes() == (two / file).read_bytes()


def _leave_out_time(cell: SweepCell) -> SweepCell:
    assert cell.score is not None
    return cell.model_copy(update={"score": cell.score.model_copy(update={"seconds": 0.0})})
