"""A grid of searches: which cells a sweep has, and which make no sense, said before any is run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from itertools import product
from pathlib import Path
from typing import Any

from circuitgraph.catalog.sweep_record import SweepQuestion
from circuitgraph.discovery.base import list_defaults, make_algorithm
from circuitgraph.discovery.sweep import check_thresholds
from circuitgraph.engine.ablation import ablations
from circuitgraph.errors import (
    ArgumentError,
    CircuitGraphError,
    DataError,
    check_between,
    first_line,
    list_problems,
)
from circuitgraph.jobs.setup import find_shipped_model
from circuitgraph.tasks.base import MOST_PROMPTS, tasks
from circuitgraph.tasks.loading import is_pairs_file
from circuitgraph.tasks.metrics import metrics

MOST_CELLS = 100_000


@dataclass(frozen=True, kw_only=True)
class SearchGrid:
    """Every task in every model by every algorithm, and so on: a cell for each combination.

    Attributes:
        tasks: names, or files of pairs.
        models: as of `circuitgraph.load_model`; by default the one that is shipped for each task.
        thresholds: for the algorithms that have a threshold.
        sizes: numbers of edges (``n_edges``), for the algorithms that take a number.
        metrics: by default each task's own.
        settings: of all algorithms.
        n_prompts, n_evaluation, loading: as of `circuitgraph.jobs.setup.Setup`, of all cells.
    """

    tasks: Sequence[str]
    models: Sequence[str] = ()
    algorithms: Sequence[str] = ("acdc",)
    thresholds: Sequence[float] = ()
    sizes: Sequence[int] = ()
    seeds: Sequence[int] = (0,)
    metrics: Sequence[str] = ()
    ablations: Sequence[str] = ("resample",)
    settings: Mapping[str, Any] = field(default_factory=dict)
    n_prompts: int | None = None
    n_evaluation: int | None = None
    loading: Mapping[str, Any] = field(default_factory=dict)

    def list_cells(self) -> list[SweepQuestion]:
        """All cells; cells of one model stand side by side.

        Raises:
            ArgumentError: cells that make no sense, all listed, or none at all.
        """
        self._check_axes()
        problems: list[str] = []
        searches = list(self._list_searches(problems))
        cells = [
            SweepQuestion(
                model=model,
                loading=dict(self.loading),
                task=task,
                seed=seed,
                algorithm=algorithm,
                arguments=arguments,
                metric=metric,
                ablation=ablation,
                n_prompts=self.n_prompts,
                n_evaluation=self.n_evaluation,
            )
            for model, task in self._list_cases(problems)
            for algorithm, arguments in searches
            for metric, ablation, seed in product(
                self.metrics or (None,), self.ablations, self.seeds
            )
        ]
        problems += [text for cell in cells for text in _check_measure(cell)]
        problems += _list_equal_names(cells)
        if problems:
            title = "Cells of this sweep make no sense:"
            raise ArgumentError(list_problems(title, list(dict.fromkeys(problems))))
        return cells

    def _check_axes(self) -> None:
        """Refuse an axis without a value, or with one twice, and numbers that make no sense."""
        for axis in fields(self):
            values = getattr(self, axis.name)
            if not isinstance(values, Sequence) or isinstance(values, str):
                continue
            if not values and axis.name not in ("models", "thresholds", "sizes", "metrics"):
                raise ArgumentError(f"There are no {axis.name}: give at least one.")
            if len(set(values)) < len(values):
                raise ArgumentError(f"{axis.name} are {_join(values)}: give each of them once.")
        if self.thresholds:
            check_thresholds(sorted(self.thresholds))
        for seed in self.seeds:
            check_between("a seed", seed, 0, 2**63 - 1)
        for name, least in (("n_prompts", 1), ("n_evaluation", 2)):
            if (n := getattr(self, name)) is not None:
                check_between(name, n, least, MOST_PROMPTS)
        n_settings = max(1, len(self.thresholds) + len(self.sizes))
        n_cells = n_settings * len(self.seeds) * len(self.tasks) * max(1, len(self.models))
        check_between("the number of cells", n_cells * len(self.algorithms), 1, MOST_CELLS)

    def _list_cases(self, problems: list[str]) -> list[tuple[str, str]]:
        """Model and task of each pair that makes sense."""
        cases: list[tuple[str, str]] = []
        for task in self.tasks:
            try:
                _check_task(task)
                name = Path(task) if is_pairs_file(task) else task
                models = self.models or [find_shipped_model(name)]
            except CircuitGraphError as error:
                problems.append(first_line(error))
                continue
            cases += [(model, task) for model in models if not _explain_misfit(model, task)]
            problems += filter(None, (_explain_misfit(model, task) for model in models))
        order = list(dict.fromkeys(model for model, _ in cases))
        return sorted(cases, key=lambda case: order.index(case[0]))

    def _list_searches(self, problems: list[str]) -> Iterator[tuple[str, dict[str, Any]]]:
        """Each algorithm, with each setting of an axis that the algorithm has."""
        for name in self.algorithms:
            for settings in self._list_settings(name, problems):
                arguments = {**self.settings, **settings}
                try:
                    make_algorithm(name, **arguments)
                except CircuitGraphError as error:
                    problems.append(f"{name}: {first_line(error)}")
                else:
                    yield name, arguments

    def _list_settings(self, name: str, problems: list[str]) -> list[dict[str, Any]]:
        axes = {"threshold": self.thresholds, "n_edges": self.sizes}
        given = [setting for setting, values in axes.items() if values]
        try:
            known = list_defaults(name)
        except CircuitGraphError as error:
            problems.append(first_line(error))
            return []
        settings = [{s: value} for s in given if s in known for value in axes[s]]
        if given and not settings:
            words = {"threshold": "thresholds", "n_edges": "sizes"}
            problems.append(
                f"{name}: it has no {' or '.join(given)}: leave it out of this sweep, or "
                f"{' and '.join(words[each] for each in given)}"
            )
        return settings if given else [{}]


def _check_task(task: str) -> None:
    """Refuse a task that is not registered, or a file that is not there."""
    if not is_pairs_file(task):
        _ = tasks[task]
    elif not Path(task).is_file():
        raise DataError(f"There is no data file {task!r}.")


def _explain_misfit(model: str, task: str) -> str | None:
    """Why this shipped model is not asked about this task; None where nothing is known against it.

    Whether another model fits shows when it is loaded.
    """
    learned: dict[str, list[str]] = {}
    for kind in (tasks[name] for name in tasks.names()):
        for each in filter(None, (kind.model, *kind.also)):
            learned.setdefault(each, []).append(kind.name)
    if is_pairs_file(task) or model not in learned or task in learned[model]:
        return None
    knows = _join(learned[model])
    return f"{model} has not learned {task!r}, only {knows}: leave one of the two out"


def _check_measure(cell: SweepQuestion) -> list[str]:
    """Why a search cannot work with its metric or ablation; of a file the metric is not known."""
    metric = cell.metric or (None if is_pairs_file(cell.task) else tasks[cell.task].metric)
    try:
        ablation = ablations[cell.ablation]
        if metric is not None:
            search = make_algorithm(cell.algorithm, **cell.arguments)
            search.check_metric(metrics[metric], ablation)
    except CircuitGraphError as error:
        return [f"{cell.algorithm} by {metric}, {cell.ablation}: {first_line(error)}"]
    return []


def _list_equal_names(cells: Sequence[SweepQuestion]) -> list[str]:
    """Cells whose folders would be one, on some file systems at least."""
    names: dict[str, str] = {}
    problems = []
    for cell in cells:
        try:
            name = str(cell.entry).casefold()
        except CircuitGraphError as error:
            problems.append(first_line(error))
            continue
        who = f"{cell.model}, {cell.task}"
        if names.setdefault(name, who) != who:
            problems.append(f"{names[name]} and {who} would both be {cell.entry}: use two folders")
    return problems


def _join(values: Sequence[Any]) -> str:
    return ", ".join(map(str, values))
