"""A sweep over models, tasks and searches: every circuit in a catalog, every score in a table."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from circuitgraph.catalog.entry_names import CIRCUITS
from circuitgraph.catalog.files import save_circuit
from circuitgraph.catalog.folders import CIRCUIT_FILE, find_beside, make_parents
from circuitgraph.catalog.records import EvaluationRecord
from circuitgraph.catalog.single_files import check_file, write_file
from circuitgraph.catalog.store import Catalog
from circuitgraph.catalog.sweep_record import (
    SWEEP_CELLS,
    SweepCell,
    SweepQuestion,
    SweepRecord,
    SweepScore,
    format_sweep_table,
    is_sweep_record,
    is_sweep_table,
)
from circuitgraph.discovery.base import make_algorithm
from circuitgraph.errors import CircuitGraphError, OutputError
from circuitgraph.graph.circuit import Circuit
from circuitgraph.jobs.discover import SearchPlan, find_circuit
from circuitgraph.jobs.evaluate import evaluate_circuit
from circuitgraph.jobs.executors import WorkerError, check_place, open_executor, run_jobs
from circuitgraph.jobs.grid import SearchGrid
from circuitgraph.jobs.last_model import LAST_MODEL
from circuitgraph.jobs.setup import Terms
from circuitgraph.jobs.workbench import Workbench
from circuitgraph.models.loading import find_model
from circuitgraph.progress import show_progress
from circuitgraph.tasks.loading import is_pairs_file, load_task

CELLS_FOLDER, JOURNALS_FOLDER = "cells", "journals"
TABLE_FILE, RECORD_FILE = "sweep.csv", "sweep.json"


def sweep_grid(
    folder: str | Path,
    *,
    workers: int = 1,
    scheduler: str | None = None,
    executor: Executor | None = None,
    memory: int | None = None,
    bar: bool = False,
    **axes: Any,
) -> SweepRecord:
    """Search every task in every model by every algorithm with every setting, and judge each
    circuit on unseen prompts.

    The folder becomes a catalog of the circuits (`Catalog`), with a table of all of them in
    ``sweep.csv`` and ``sweep.json``. The same call again goes on where it was stopped: a cell whose
    circuit is there is not searched again, and one that was being searched goes on from its
    journal.

    Args:
        axes: ``tasks``, ``models``, ``algorithms``, ``thresholds``, ``sizes``, ``seeds``,
            ``metrics``, ``ablations`` and what else `circuitgraph.jobs.grid.SearchGrid` has.
        workers: processes of this machine; 1 is this one.
        scheduler: address of a Dask scheduler, whose workers do the cells instead. They must see
            the folder under the same path.
        executor: what does the cells, instead: anything of the shape of
            `concurrent.futures.Executor` whose workers see the folder under the same path.
        memory: limit in bytes for one launch, on each device.
        bar: show progress and time left.

    Returns:
        The cells that were asked for; one that failed says why, and is tried again next time.

    Raises:
        ArgumentError: cells that make no sense, all listed, before any is run.
        OutputError: the folder cannot be written.
        DataError: a damaged file in the folder.
    """
    questions = SearchGrid(**axes).list_cells()
    check_place(workers, scheduler)
    place = prepare_folder(folder)
    own = open_executor(workers, scheduler, place) if executor is None else nullcontext(executor)
    with own as chosen:
        cells = list(measure_sweep(place, questions, chosen, memory=memory, bar=bar))
    order = {question.entry: i for i, question in enumerate(questions)}
    return SweepRecord(cells=sorted(cells, key=lambda cell: order[cell.question.entry]))


def measure_sweep(
    place: Path,
    questions: Sequence[SweepQuestion],
    executor: Executor,
    *,
    memory: int | None = None,
    bar: bool = False,
) -> Iterator[SweepCell]:
    """The cells: first those that are there, then each as soon as it is done.

    In the end the folder's tables are written, of these cells and all others in it.

    Args:
        place: as `prepare_folder` gives it.

    Raises:
        OutputError, DataError: as `sweep_grid`.
    """
    finished = [cell for each in questions if (cell := read_finished(place, each)) is not None]
    known = {cell.question.entry for cell in finished}
    jobs = [
        {
            "question": each.model_dump(mode="json"),
            "folder": str(place),
            "home": str(Path.cwd()),
            "memory": memory,
        }
        for each in questions
        if each.entry not in known
    ]
    yield from finished
    n = len(questions)
    with show_progress(n, "sweep", "cell", bar=bar, done=len(finished)) as progress:
        for job, result in run_jobs(executor, run_cell, jobs):
            if isinstance(result, WorkerError):
                question = SweepQuestion.model_validate(job["question"])
                cell = _write_failure(place, question, result)
            else:
                cell = SweepCell.model_validate(result)
            progress.advance(note=cell.entry)
            yield cell
    LAST_MODEL.forget()
    write_tables(place)


def prepare_folder(folder: str | Path) -> Path:
    """The folder of a sweep, with the catalog's own in it.

    Raises:
        OutputError: it cannot be made or written.
    """
    place = Path(folder).expanduser().absolute()
    SWEEP_CELLS.check_folder(place / CELLS_FOLDER)
    for name, is_own in ((TABLE_FILE, is_sweep_table), (RECORD_FILE, is_sweep_record)):
        check_file(place / name, is_own=is_own)
    make_parents(place / CIRCUITS / "model")  # without it, the folder itself would hold the models
    return place


def read_finished(folder: Path, question: SweepQuestion) -> SweepCell | None:
    """The cell of this very question whose circuit is in the catalog; None if it is to be done."""
    cell = SWEEP_CELLS.read(folder / CELLS_FOLDER, question)
    if cell is None or cell.score is None:
        return None
    return cell if (folder / CIRCUITS / cell.entry / CIRCUIT_FILE).is_file() else None


def run_cell(job: Mapping[str, Any]) -> dict[str, Any]:
    """Find and judge the circuit of one cell, and write it down; what any process can do.

    Args:
        job: the question, the sweep's folder, where relative names begin, and the memory.

    Returns:
        The cell, as plain values. The error of a cell that failed is in it.
    """
    question, folder = SweepQuestion.model_validate(job["question"]), Path(job["folder"])
    if (done := read_finished(folder, question)) is not None:
        return done.model_dump(mode="json")  # Dask may lose what a worker said before it died
    journal = folder / JOURNALS_FOLDER / f"{'.'.join(question.parts)}.{question.digest}.jsonl"
    try:
        bench = _open_bench(question, Path(job["home"]), job["memory"])
        algorithm = make_algorithm(question.algorithm, **question.arguments)
        circuit = find_circuit(bench, SearchPlan(algorithm, journal=journal))
        evaluation = evaluate_circuit(bench, circuit)
        cell = _write_cell(folder, question, circuit, evaluation)
    except OutputError:
        raise  # a full disk is full for all cells
    except CircuitGraphError as failure:
        return _write_failure(folder, question, failure).model_dump(mode="json")
    journal.unlink(missing_ok=True)
    return cell.model_dump(mode="json")


def _open_bench(question: SweepQuestion, home: Path, memory: int | None) -> Workbench:
    """Model and task of a cell; names of files are looked for from where the sweep was begun."""
    model = LAST_MODEL.load_model(find_model(question.model, home), question.loading)
    task = question.task
    source = Path(find_beside(task, home)) if is_pairs_file(task) else task
    terms = Terms(
        metric=question.metric,
        ablation=question.ablation,
        n_prompts=question.n_prompts,
        n_evaluation=question.n_evaluation,
        memory=memory,
    )
    loaded = load_task(source, model, seed=question.seed)
    return Workbench(model, loaded, terms)


def _write_cell(
    folder: Path, question: SweepQuestion, circuit: Circuit, evaluation: EvaluationRecord
) -> SweepCell:
    """Put the circuit into the catalog, and then the cell, which says that it is there."""
    with tempfile.TemporaryDirectory() as made:
        run = save_circuit(circuit, Path(made) / "run", evaluation=evaluation)
        Catalog(folder).add(run, name=str(question.entry), overwrite=True)
    score = SweepScore(
        n_edges=len(circuit),
        graph_edges=circuit.graph.n_edges,
        metric=evaluation.metric,
        n_evaluation=evaluation.n_prompts,
        faithfulness=evaluation.faithfulness,
        random_faithfulness=evaluation.random_faithfulness,
        n_random=evaluation.n_random,
        seconds=circuit.provenance["algorithm"]["seconds"],
    )
    cell = SweepCell(question=question, entry=str(question.entry), score=score)
    SWEEP_CELLS.write(folder / CELLS_FOLDER, cell)
    return cell


def _write_failure(folder: Path, question: SweepQuestion, failure: CircuitGraphError) -> SweepCell:
    cell = SweepCell(question=question, entry=str(question.entry), failed=str(failure))
    SWEEP_CELLS.write(folder / CELLS_FOLDER, cell)
    return cell


def write_tables(folder: Path) -> None:
    """Write the tables of all cells of a folder.

    Raises:
        OutputError: they cannot be written.
    """
    cells = SWEEP_CELLS.read_all(folder / CELLS_FOLDER)
    record = SweepRecord(cells=cells).model_dump_json(indent=2) + "\n"
    write_file(folder / RECORD_FILE, record.encode(), is_own=is_sweep_record)
    write_file(folder / TABLE_FILE, format_sweep_table(cells).encode(), is_own=is_sweep_table)
