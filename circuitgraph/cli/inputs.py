"""The model and the task of a command: what can be refused at once, and how both are loaded."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import circuitgraph as cg
from circuitgraph.cli.settings import gather_settings
from circuitgraph.engine.compile_cache import keep_compiled_programs as keep_compiled_programs
from circuitgraph.errors import ArgumentError, DataError, check_choice, unknown_name
from circuitgraph.jobs.same_model import check_same_model as check_same_model

if TYPE_CHECKING:
    from circuitgraph.cli.output import Output
    from circuitgraph.jobs.setup import Setup, Terms
    from circuitgraph.jobs.workbench import Workbench
    from circuitgraph.models.language_model import LanguageModel
    from circuitgraph.tasks.prompts import Split


def check_names(metric: str | None, ablation: str | None) -> None:
    """Refuse unknown names before a model is loaded."""
    from circuitgraph.engine.ablation import ablations
    from circuitgraph.tasks.metrics import metrics

    for name, registry in ((metric, metrics), (ablation, ablations)):
        if name is not None:
            registry[name]


def choose_task(task: str | None, data: Path | None) -> str | Path:
    """The task or the data file that options name.

    Raises:
        CircuitGraphError: none or both, no such task, or no such file of pairs; nothing is loaded
            to see that.
    """
    from circuitgraph.tasks.base import tasks
    from circuitgraph.tasks.pair_lines import SUFFIXES

    if task is not None and data is None:
        if task not in tasks and task.endswith(SUFFIXES):
            raise ArgumentError(f"{task!r} is a file, not a task: give it with --data.")
        return tasks[task].name
    if data is None or task is not None:
        raise ArgumentError(
            "Give either a task (circuitgraph list tasks) or --data FILE (.jsonl or .csv), and not "
            "both."
        )
    if not os.path.exists(data):
        raise DataError(
            f"There is no data file {str(data)!r}: name a file of pairs, {' or '.join(SUFFIXES)}."
        )
    if data.is_file() and data.suffix not in SUFFIXES:
        raise DataError(f"The data file {str(data)!r} is none of {', '.join(SUFFIXES)}.")
    return data


def check_split(name: str) -> Split:
    """The split of that name."""
    from circuitgraph.tasks.prompts import SPLITS

    for split in SPLITS:
        if name == split:
            return split
    raise unknown_name("split", name, SPLITS)


def check_task(task: str | Path, arguments: Mapping[str, Any]) -> None:
    """Refuse settings that the task does not have, before a model is loaded."""
    from circuitgraph.tasks.base import tasks
    from circuitgraph.tasks.loading import BOS_CHOICES, COMMON_SETTINGS

    if bos := arguments.get("bos"):
        check_choice("--bos", bos, BOS_CHOICES)
    own = [name for name in arguments if name not in COMMON_SETTINGS]
    if isinstance(task, Path) and own:
        raise ArgumentError(
            f"A file of pairs has no settings, but {', '.join(own)} was given with --task-set."
        )
    if isinstance(task, str):
        if "chat" in arguments or "judging" in arguments:
            raise ArgumentError(
                "--chat and --no-judging are for files of pairs (--data), not for tasks: leave "
                "them out."
            )
        tasks[task].fill_arguments({name: arguments[name] for name in own})


def gather_task_settings(
    assignments: Sequence[str], bos: str | None, chat: bool | None, judging: bool = True
) -> dict[str, Any]:
    """The settings of a task or file that were given, by options or assignments."""
    options = {"bos": bos, "chat": chat, "judging": None if judging else False}
    return gather_settings(options, assignments, "--task-set")


def choose_setup(
    model: str | None,
    task: str | None,
    data: Path | None,
    *,
    seed: int = 0,
    task_settings: Mapping[str, Any] | None = None,
    loading: Mapping[str, Any] | None = None,
    terms: Terms | None = None,
) -> Setup:
    """The setup that options stand for.

    Args:
        loading: keywords of `circuitgraph.load_model`.

    Raises:
        CircuitGraphError: what does not go together, or is not there; nothing is loaded to see it.
    """
    from circuitgraph.jobs.setup import Setup, Terms, find_shipped_model

    chosen = choose_task(task, data)
    model = model or find_shipped_model(chosen)
    check_task(chosen, task_settings or {})
    return Setup(
        model=model,
        task=chosen,
        task_settings=task_settings or {},
        loading=loading or {},
        seed=seed,
        **vars(terms or Terms()),
    )


def check_setup(setup: Setup) -> None:
    """Refuse a task, or a file, and settings that are not there, before a model is loaded."""
    is_file = isinstance(setup.task, Path)
    choose_task(None if is_file else str(setup.task), Path(setup.task) if is_file else None)
    check_task(setup.task, setup.task_settings)


def open_setup(output: Output, setup: Setup) -> Workbench:
    """Load the model and the task of a setup; print the task's notes."""
    from circuitgraph.jobs.workbench import load_setup

    with output.show_spinner("loading the model"):
        bench = load_setup(setup, bar=output.shows_bars)
    for note in bench.task.notes:
        output.print_message(f"Note: {note}")
    return bench


def load_alone(output: Output, model: str, loading: Mapping[str, Any]) -> LanguageModel:
    """Load the model for a command that needs no task."""
    with output.show_spinner("loading the model"):
        return cg.load_model(model, **loading)
