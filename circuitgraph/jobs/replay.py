"""Stored circuits run again: does the record still say what the model does?

A replay is given the model and the task of a record, runs the judgement or the search again with
the record's own settings, and lists where the numbers differ by more than a tolerance.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from circuitgraph.catalog.folders import find_path
from circuitgraph.catalog.records import CircuitRecord, EvaluationRecord, Interval
from circuitgraph.errors import ArgumentError, DataError
from circuitgraph.evaluation.faithfulness import measure_faithfulness
from circuitgraph.graph.circuit import Circuit
from circuitgraph.jobs.judge import make_search
from circuitgraph.jobs.setup import Terms, recall_task
from circuitgraph.jobs.workbench import Workbench
from circuitgraph.models.language_model import LanguageModel
from circuitgraph.tasks.base import Task
from circuitgraph.tasks.loading import load_task
from circuitgraph.tasks.prompts import SPLITS, Prompts, Split

# As a share of what lies between the whole model and nothing. Other processors and versions of XLA
# move float32 metrics by about a hundredth of this.
TOLERANCE = 1e-3
ENDS = 0.1  # of an interval's width: its ends are estimates too, by resampling
_MOST_RANDOM = 10_000  # random circuits: a record from elsewhere may ask for any number
_SHOWN = 10


def load_recorded_task(
    record: CircuitRecord, model: LanguageModel, folder: Path, seed: int | None = None
) -> Task:
    """The task that a circuit was searched for on, as its record says.

    Args:
        folder: of the circuit, beside which or above which its file of pairs is looked for.
        seed: another seed than the record's.

    Raises:
        ArgumentError: the record names no task.
        CircuitGraphError: the task is not registered here, or its file of pairs is not there.
    """
    if record.task is None:
        raise ArgumentError("The record names no task, on whose prompts it could be run again.")
    seed = record.task.seed if seed is None else seed
    task, settings = recall_task(record.task.name, record.task.arguments)
    if isinstance(task, Path):
        task = _find_data(str(task), folder)
    return load_task(task, model, seed=seed, **settings)


def _find_data(name: str, folder: Path) -> Path:
    """The file of pairs that a record names: there, or in the folder or above it, under that name
    or the end of it, because folders above a catalog have other names elsewhere.
    """
    parts = Path(name).parts
    for i in range(len(parts)):
        if (file := find_path(str(Path(*parts[i:])), folder, Path.is_file)) is not None:
            return file
    raise DataError(f"The file of pairs {name!r} is not here.")


def replay_evaluation(
    model: LanguageModel,
    task: Task,
    circuit: Circuit,
    *stored: EvaluationRecord,
    tolerance: float = TOLERANCE,
    memory: int | None = None,
    bar: bool = False,
) -> list[str]:
    """Judge a circuit again as a stored evaluation says, and compare.

    Args:
        stored: one evaluation, or several that ask the same (`list_questions`).
        tolerance: how far a mean may be off, as a share of what lies between the whole model and
            nothing; the ends of intervals may be off by `ENDS` of the width, if that is more.
        memory: limit in bytes for one launch.
        bar: show progress.

    Returns:
        A line for each number that differs; none if the record holds.

    Raises:
        CircuitGraphError: it cannot be judged here.
    """
    question = stored[0]
    if question.n_random > _MOST_RANDOM:
        raise ArgumentError(
            f"The record asks for {question.n_random:,} random circuits, more than the "
            f"{_MOST_RANDOM:,} that are run."
        )
    terms = Terms(
        graph=circuit.graph,
        metric=question.metric,
        ablation=question.ablation,
        n_prompts=question.n_prompts,
        n_evaluation=question.n_prompts,
        memory=memory,
    )
    experiment, prompts = Workbench(model, task, terms).prepare(_check_split(question.split))
    if problem := _compare_prompts(prompts, question.prompts_sha256):
        return [problem]
    current = measure_faithfulness(
        experiment,
        circuit,
        prompts,
        split=question.split,
        seed=question.seed,
        n_random=question.n_random,
        bar=bar,
    )
    problems = [compare_evaluations(each, current, tolerance) for each in stored]
    return list(dict.fromkeys(line for lines in problems for line in lines))


def list_questions(stored: Sequence[EvaluationRecord]) -> list[list[EvaluationRecord]]:
    """Evaluations that ask the same, together: they need to be run once."""
    groups: dict[tuple, list[EvaluationRecord]] = {}
    for each in stored:
        groups.setdefault(tuple(getattr(each, name) for name in _QUESTION), []).append(each)
    return list(groups.values())


_QUESTION = ("metric", "ablation", "split", "seed", "n_prompts", "n_random", "prompts_sha256")


def compare_evaluations(
    stored: EvaluationRecord, current: EvaluationRecord, tolerance: float
) -> list[str]:
    """A line for each number of two evaluations that differs by more than the tolerance."""
    gap = abs(stored.full.mean - stored.empty.mean) or 1.0
    problems = []
    for name, unit in (
        ("full", gap),
        ("empty", gap),
        ("circuit", gap),
        ("faithfulness", 1.0),
        ("random_faithfulness", 1.0),
    ):
        old, new = getattr(stored, name), getattr(current, name)
        problems += _compare_intervals(name, old, new, tolerance * unit)
    return problems


def replay_search(
    model: LanguageModel,
    task: Task,
    circuit: Circuit,
    record: CircuitRecord,
    *,
    tolerance: float = TOLERANCE,
    memory: int | None = None,
) -> list[str]:
    """Run the search again that found a circuit, and compare edges and effects.

    Args:
        tolerance: how far an effect may be off, as a share of the largest effect.

    Returns:
        A line for each difference; none if the same circuit is found.

    Raises:
        ArgumentError: the record does not say how to search.
        CircuitGraphError: it cannot be run here.
    """
    search = make_search(model, circuit, memory)
    if search is None or record.task is None:
        raise ArgumentError("The record does not say all that its search would need.")
    prompts = task.prompts(record.task.n_prompts, _check_split(record.task.split))
    if problem := _compare_prompts(prompts, record.task.prompts_sha256):
        return [problem]
    current = search(prompts)
    problems = _list_edges("not found again", circuit.edges, current.edges)
    problems += _list_edges("found beside", current.edges, circuit.edges)
    close = record.algorithm.close_calls if record.algorithm else []
    if problems and close:
        problems.append(f"{len(close)} decisions were closer than numerical noise: {close[0]} ...")
    return problems or _compare_effects(circuit, current, tolerance)


def _check_split(name: str) -> Split:
    for split in SPLITS:
        if name == split:
            return split
    raise DataError(f"The record names the split {name!r}: expected one of {', '.join(SPLITS)}.")


def _compare_prompts(prompts: Prompts, sha256: str) -> str | None:
    if prompts.fingerprint == sha256:
        return None
    return (
        f"prompts: the task gives others than the record's (SHA-256 {prompts.fingerprint[:12]}, "
        f"not {sha256[:12]})"
    )


def _compare_intervals(
    name: str, old: Interval | None, new: Interval | None, most: float
) -> list[str]:
    if old is None or new is None:
        return [] if old is new else [f"{name}: stored {old}, now {new}"]
    at_ends = max(most, ENDS * abs(old.high - old.low))
    return [
        f"{name}.{part}: stored {getattr(old, part):.6g}, now {getattr(new, part):.6g}"
        for part, limit in (("mean", most), ("low", at_ends), ("high", at_ends))
        if not abs(getattr(old, part) - getattr(new, part)) <= limit
    ]


def _list_edges(what: str, edges: Sequence[str], others: Sequence[str]) -> list[str]:
    missing = [edge for edge in edges if edge not in set(others)]
    more = [f"{what}: and {len(missing) - _SHOWN} more edges"] * (len(missing) > _SHOWN)
    return [f"{what}: {edge}" for edge in missing[:_SHOWN]] + more


def _compare_effects(old: Circuit, new: Circuit, tolerance: float) -> list[str]:
    """Lines for the kept edges whose effects differ."""
    if old.scores is None or new.scores is None:
        return []
    kept: Any = np.flatnonzero(old.mask)
    if not len(kept):
        return []
    most = tolerance * max(float(np.abs(old.scores[kept]).max()), 1e-12)
    return [
        f"effect of {old.graph.edges[i]}: stored {old.scores[i]:.6g}, now {new.scores[i]:.6g}"
        for i in kept
        if not abs(old.scores[i] - new.scores[i]) <= most
    ][:_SHOWN]
