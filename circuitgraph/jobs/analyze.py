"""Analyses: what single nodes do, by the methods of the literature, each by its name."""

from __future__ import annotations

import time
from typing import Any

from circuitgraph.analysis.base import analyses
from circuitgraph.catalog.analysis_record import AnalysisRecord
from circuitgraph.errors import ArgumentError
from circuitgraph.jobs.workbench import draw_prompts
from circuitgraph.models.language_model import LanguageModel
from circuitgraph.tasks.base import Task
from circuitgraph.tasks.describing import describe_environment, describe_model, describe_task
from circuitgraph.tasks.prompts import Split

N_ANALYSIS = 32  # prompts


def analyze(
    model: LanguageModel,
    task: Task | None,
    method: str,
    *,
    n_prompts: int | None = None,
    split: Split = "evaluation",
    bar: bool = False,
    **settings: Any,
) -> AnalysisRecord:
    """Ask one method what the nodes of a model do on the prompts of a task.

    Args:
        task: None for methods that look at weights alone.
        method: its name (``circuitgraph list analyses``); ``settings`` are its own, such as
            ``top=10``.
        n_prompts: number of prompts (32 by default, or fewer if a file has fewer).
        split: which prompts; those of ``evaluation`` were seen by no search.
        bar: show progress and time left.

    Raises:
        CircuitGraphError: no such method or setting, a value that makes no sense, prompts that the
            method cannot use, or a model to which it does not apply.
    """
    chosen = analyses[method]
    filled = chosen.fill_settings(settings)
    if chosen.needs_prompts and task is None:
        raise ArgumentError(f"The analysis {method!r} looks at prompts: give it a task.")
    given: dict[str, Any] = {"model": model, "task": task, "bar": bar}
    task_record = None
    if task is not None and chosen.needs_prompts:
        given["prompts"] = draw_prompts(task, split, n_prompts, default=N_ANALYSIS)
        task_record = describe_task(task, given["prompts"], split)
    start = time.perf_counter()
    reading = chosen.read(given, filled)
    return AnalysisRecord(
        method=method,
        source=chosen.source,
        cannot_tell=chosen.cannot_tell,
        model=describe_model(model),
        task=task_record,
        environment=describe_environment(model),
        settings=filled,
        seconds=time.perf_counter() - start,
        reading=reading,
    )
