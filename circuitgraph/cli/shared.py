"""What ``discover`` and ``evaluate`` have in common: finding the model and the task, and showing a
judgement.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.table import Table

from circuitgraph.engine.compile_cache import keep_compiled_programs as keep_compiled_programs
from circuitgraph.errors import ArgumentError, DataError

if TYPE_CHECKING:
    from circuitgraph.catalog.records import EvaluationRecord, Interval
    from circuitgraph.cli.output import Output
    from circuitgraph.models.language_model import LanguageModel
    from circuitgraph.tasks.base import Task


def check_names(metric: str | None, ablation: str | None) -> None:
    """Refuse unknown names before a model is loaded."""
    from circuitgraph.engine.ablation import ablations
    from circuitgraph.tasks.metrics import metrics

    for name, registry in ((metric, metrics), (ablation, ablations)):
        if name is not None:
            registry[name]


def choose_model(model: str | None, task: str | None, data: Path | None) -> str:
    """The model's name, given by itself or through the task; refuses what can be refused without
    loading it.
    """
    from circuitgraph.tasks.base import tasks

    if (task is None) == (data is None):
        raise ArgumentError(
            "Give either a task (circuitgraph list tasks) or --data FILE.jsonl, and not both."
        )
    if data is not None and not data.exists():
        raise DataError(f"There is no data file {str(data)!r}.")
    if data is not None and model is None:
        raise ArgumentError("--data needs --model: a folder, a shipped model or a hub name.")
    if task is not None and task not in tasks and task.endswith(".jsonl"):
        raise ArgumentError(f"{task!r} is a file, not a task: give it with --data.")
    if task is not None:
        shipped = tasks[task].model
        model = model or shipped
    if model is None:
        raise ArgumentError(f"No model is shipped for task {task!r}: name one with --model.")
    return model


def default_metric(task: str | None) -> str | None:
    """The metric that a task has by itself; of a data file it is not known before it is read."""
    from circuitgraph.tasks.base import tasks

    return None if task is None else tasks[task].metric


def check_task(task: str | None, arguments: Mapping[str, Any]) -> None:
    """Refuse settings that the task does not have, before a model is loaded."""
    from circuitgraph.tasks.base import tasks

    if task is None and arguments:
        raise ArgumentError(
            f"A file of pairs has no settings, but {', '.join(arguments)} was given with "
            "--task-set."
        )
    if task is not None:
        tasks[task].fill_arguments(arguments)


def load(
    output: Output,
    model: str,
    task: str | None,
    data: Path | None,
    seed: int,
    arguments: Mapping[str, Any] | None = None,
) -> tuple[LanguageModel, Task]:
    """The model, and the task (with its arguments) or data file for it; says what its user should
    know.
    """
    from circuitgraph.api import load_task
    from circuitgraph.models.loading import load_model

    with output.waiting("loading the model"):
        loaded = load_model(model)
        about = load_task(
            data if data is not None else task or "", loaded, seed=seed, **(arguments or {})
        )
    for note in about.notes:
        output.say(f"Note: {note}")
    return loaded, about


def judgement(evaluation: EvaluationRecord) -> Table:
    """An evaluation as a table: the metric of model, circuit and nothing, and the faithfulness."""
    title = f"{evaluation.metric}, {evaluation.ablation} ablation, {_prompts(evaluation)}"
    table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False)
    for heading in ("", "mean", "95 % interval"):
        table.add_column(heading, justify="left" if not heading else "right")
    rows = {
        "full model": evaluation.full,
        "circuit": evaluation.circuit,
        "empty circuit": evaluation.empty,
        "faithfulness of the circuit": evaluation.faithfulness,
        f"faithfulness of {evaluation.n_random} random circuits of its size": evaluation.random_faithfulness,
    }
    for name, mean in rows.items():
        table.add_row(name, *interval(mean))
    return table


def _prompts(evaluation: EvaluationRecord) -> str:
    if evaluation.seen == 0:
        return f"{evaluation.n_prompts} unseen prompts"
    seen = "perhaps some" if evaluation.seen is None else str(evaluation.seen)
    return f"{evaluation.n_prompts} prompts, {seen} of them SEEN in the search"


def interval(of: Interval | None) -> tuple[str, str]:
    """A mean and its 95 % interval, as they are shown."""
    if of is None:
        return "undefined", "full model and empty circuit do not differ"
    mean, low, high = (
        f"{round(x, 3) + 0.0:.3f}" for x in (of.mean, of.low, of.high)
    )  # no "-0.000"
    return mean, f"{low} .. {high}"


def bounded(of: Interval | None) -> str:
    """A mean with its 95 % interval, in one cell; a dash where there is none."""
    if of is None:
        return "-"
    mean, bounds = interval(of)
    return f"{mean} [{bounds.replace(' .. ', ', ')}]"


def plain_table(title: str, *headings: str) -> Table:
    """A table whose first column may wrap, and the others not."""
    table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False)
    for i, heading in enumerate(headings):
        table.add_column(heading, justify="right" if i else "left", no_wrap=bool(i))
    return table
