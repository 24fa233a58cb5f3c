"""An entry of a catalog run again, and compared with what it says; what any process can do."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from circuitgraph.catalog.entries import Entry
from circuitgraph.catalog.entry_names import EntryName
from circuitgraph.catalog.records import CircuitRecord, EvaluationRecord
from circuitgraph.catalog.sources import open_source
from circuitgraph.errors import CircuitGraphError, DataError, ModelError, first_line
from circuitgraph.graph.circuit import Circuit
from circuitgraph.jobs.last_model import LAST_MODEL
from circuitgraph.jobs.replay import (
    list_questions,
    load_recorded_task,
    replay_evaluation,
    replay_search,
)
from circuitgraph.jobs.same_model import check_same_model
from circuitgraph.jobs.setup import recall_loading
from circuitgraph.models.language_model import LanguageModel
from circuitgraph.models.loading import find_model

SAME, DIFFERENT, DAMAGED, NOT_RUN = "same", "different", "damaged", "not run"


@dataclass(frozen=True)
class VerifiedEntry:
    """What became of one entry; ``problems`` say what differs, or why it was not run."""

    entry: str
    outcome: str
    problems: list[str]
    seconds: float


@dataclass(frozen=True)
class VerifyJob:
    """An entry, and how it is run again: plain values, which are sent to a process.

    Attributes:
        catalog: folder or URL.
        loading: keywords of `circuitgraph.load_model`, before those of the record.
        search: run the search again, not the judgements.
        tolerance, memory: as of `circuitgraph.jobs.replay.replay_evaluation`.
    """

    catalog: str
    entry: str
    loading: Mapping[str, Any]
    search: bool
    tolerance: float
    memory: int | None = None


def verify_entry(job: Mapping[str, Any]) -> dict[str, Any]:
    """What became of one entry; no error of it stops the others.

    Args:
        job: a `VerifyJob` as a dictionary.

    Returns:
        A `VerifiedEntry` as a dictionary.
    """
    asked, start = VerifyJob(**job), time.perf_counter()
    outcome, problems = _run_entry(asked)
    return asdict(VerifiedEntry(asked.entry, outcome, problems, time.perf_counter() - start))


def _run_entry(job: VerifyJob) -> tuple[str, list[str]]:
    entry = Entry(EntryName.parse(job.entry), open_source(job.catalog))
    try:
        record, circuit = entry.read_record(), entry.read_circuit()
        judgement = entry.read_judgement()
    except CircuitGraphError as error:
        return DAMAGED, [first_line(error)]
    stored = [each for each in (record.evaluation, judgement) if each is not None]
    try:
        with entry.open_folder() as folder:
            problems = _replay_entry(job, record, circuit, stored, folder)
    except CircuitGraphError as error:
        return NOT_RUN, [first_line(error)]
    return DIFFERENT if problems else SAME, problems


def _replay_entry(
    job: VerifyJob,
    record: CircuitRecord,
    circuit: Circuit,
    stored: list[EvaluationRecord],
    folder: Path,
) -> list[str]:
    model = _load_model(job, record, circuit, folder)
    try:
        check_same_model(record.model, model, "")
    except ModelError as error:
        return [str(error).strip()]
    settings: dict[str, Any] = {"tolerance": job.tolerance, "memory": job.memory}
    if job.search:
        task = load_recorded_task(record, model, folder)
        return replay_search(model, task, circuit, record, **settings)
    if not stored:
        raise DataError("It was never judged, so that there is nothing to compare.")
    problems: list[str] = []
    for same in list_questions(stored):
        task = load_recorded_task(record, model, folder, same[0].seed)
        problems += replay_evaluation(model, task, circuit, *same, **settings)
    return problems


def _load_model(
    job: VerifyJob, record: CircuitRecord, circuit: Circuit, folder: Path
) -> LanguageModel:
    if record.model is None:
        raise DataError("It names no model.")
    keywords = recall_loading(circuit.provenance, folder, job.loading, is_own=True)
    return LAST_MODEL.load_model(find_model(record.model.name, folder), keywords)
