"""Every algorithm on every known model: how one search compares with the others."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from circuitgraph.catalog.leaderboard_record import CELLS, Cell, Question, Score
from circuitgraph.catalog.records import LARGEST_SEED
from circuitgraph.discovery.base import Algorithm, algorithms, make_algorithm
from circuitgraph.discovery.loop import run_search
from circuitgraph.engine.ablation import ablations
from circuitgraph.errors import ArgumentError, CircuitGraphError, check_between, list_problems
from circuitgraph.evaluation.faithfulness import measure_faithfulness
from circuitgraph.evaluation.size_curve import measure_size_curve
from circuitgraph.evaluation.stability import measure_stability
from circuitgraph.evaluation.truth import compare_with_truth
from circuitgraph.jobs.executors import InlineExecutor, WorkerError, run_jobs
from circuitgraph.jobs.judge import choose_pruning, choose_ranking_scores, make_search
from circuitgraph.jobs.known import find_known_circuit
from circuitgraph.jobs.last_model import LAST_MODEL
from circuitgraph.jobs.setup import Terms
from circuitgraph.jobs.workbench import Workbench
from circuitgraph.models.language_model import LanguageModel
from circuitgraph.progress import show_progress
from circuitgraph.tasks.base import MOST_PROMPTS, Task, tasks
from circuitgraph.tasks.loading import load_task
from circuitgraph.tasks.metrics import metrics

_MOST_BOOTSTRAPS = 10_000


@dataclass(frozen=True)
class LeaderboardCase:
    """A task, and a model that has learned it."""

    task: str
    model: str


@dataclass(frozen=True)
class LeaderboardSettings:
    """What all cells have in common; as in `Question`."""

    ablation: str = "resample"
    seed: int = 0
    n_discovery: int = 50
    n_evaluation: int = 100
    n_bootstraps: int = 5

    def __post_init__(self) -> None:
        check_between("the number of discovery prompts", self.n_discovery, 1, MOST_PROMPTS)
        check_between("the number of evaluation prompts", self.n_evaluation, 2, MOST_PROMPTS)
        check_between("seed", self.seed, 0, LARGEST_SEED)
        if self.n_bootstraps == 1 or not 0 <= self.n_bootstraps <= _MOST_BOOTSTRAPS:
            raise ArgumentError(
                f"the number of bootstraps is {self.n_bootstraps}, but must be 0 or at least 2, "
                f"and at most {_MOST_BOOTSTRAPS:,}."
            )


def list_cases(
    names: Sequence[str] | None = None, models: Sequence[str] | None = None
) -> list[LeaderboardCase]:
    """List every task with every shipped model that knows the task.

    Args:
        names: only these tasks.
        models: only these models. One that is not shipped is listed with every task that is named:
            whether it has learned them, its cells will say.

    Raises:
        UnknownNameError: no task of that name.
        ArgumentError: nothing is left.
    """
    kinds = [tasks[name] for name in names or tasks.names()]
    known = [
        LeaderboardCase(kind.name, model)
        for kind in kinds
        for model in (kind.model, *kind.also)
        if model is not None
    ]
    cases = [case for case in known if models is None or case.model in models]
    if names:
        cases += [
            LeaderboardCase(kind.name, model)
            for model in models or ()
            if not _is_known(model)
            for kind in kinds
        ]
    if not cases:
        known_by = ", ".join(sorted({case.model for case in known})) or "none"
        raise ArgumentError(
            f"No model {' or '.join(map(repr, models or ()))} knows any of these tasks. Choose of "
            f"those that do: {known_by}."
        )
    return cases


def _is_known(model: str) -> bool:
    """Whether a task names this model as one that has learned it."""
    kinds = (tasks[name] for name in tasks.names())
    return any(model in (kind.model, *kind.also) for kind in kinds)


def measure_cells(
    folder: str | Path,
    cases: Sequence[LeaderboardCase],
    names: Sequence[str] | None = None,
    settings: LeaderboardSettings | None = None,
    *,
    bar: bool = False,
    loading: Mapping[str, Any] | None = None,
    executor: Executor | None = None,
) -> Iterator[Cell]:
    """Measure every algorithm on every case. A cell that the folder holds is not measured again.

    Args:
        folder: one JSON file for each cell is written to the folder as soon as the cell is
            measured, so that a run can be stopped.
        names: of algorithms; all if None.
        bar: show progress and time left.
        loading: keywords of `circuitgraph.load_model`.
        executor: what measures the cells; by default this process, one after the other.

    Yields:
        Each cell, as soon as it is there. An algorithm that does not take a metric or ablation has
        one that says why.

    Raises:
        UnknownNameError: no algorithm of that name.
        DataError: a damaged file in the folder.
        WorkerError: in the end, if processes died; the next run measures their cells.
    """
    settings = settings or LeaderboardSettings()
    searches = [make_algorithm(name).name for name in names or algorithms.names()]
    jobs: list[dict[str, Any]] = [
        {
            "folder": str(Path(folder).absolute()),
            "case": asdict(case),
            "algorithm": name,
            "settings": asdict(settings),
            "loading": dict(loading or {}),
        }
        for case in cases
        for name in searches
    ]
    lost: list[str] = []
    with show_progress(len(jobs), "leaderboard", "cell", bar=bar) as progress:
        for job, result in run_jobs(executor or InlineExecutor(), measure_cell, jobs):
            name = f"{', '.join(job['case'].values())}, {job['algorithm']}"
            progress.advance(note=name)
            if isinstance(result, WorkerError):
                lost.append(f"{name}: {result}")
            else:
                yield Cell.model_validate(result)
    LAST_MODEL.forget()
    if lost:
        raise WorkerError(list_problems("All cells were measured but these:", lost))


def measure_cell(job: Mapping[str, Any]) -> dict[str, Any]:
    """Read a cell from its folder, or measure the cell and write it there; what any process can do.

    Args:
        job: the folder, the case, the name of the algorithm, the settings and how to load.

    Returns:
        The cell, as plain values.
    """
    folder, settings = Path(job["folder"]), LeaderboardSettings(**job["settings"])
    case, algorithm = LeaderboardCase(**job["case"]), make_algorithm(job["algorithm"])
    model = LAST_MODEL.load_model(case.model, job["loading"])
    task = load_task(case.task, model, seed=settings.seed)
    question = Question(
        task=case.task,
        model=case.model,
        weights_sha256=model.fingerprint,
        algorithm=algorithm.name,
        arguments=algorithm.arguments,
        metric=choose_metric(task),
        ablation=settings.ablation,
        seed=settings.seed,
        n_discovery=settings.n_discovery,
        n_evaluation=settings.n_evaluation,
        n_bootstraps=settings.n_bootstraps,
    )
    cell = CELLS.read(folder, question)
    if cell is None:
        cell = _measure_question(question, model, task, algorithm)
        CELLS.write(folder, cell)
    return cell.model_dump(mode="json")


def choose_metric(task: Task) -> str:
    """The task's metric, or logit difference where that has no gradient at the whole model."""
    return "logit_difference" if metrics[task.metric].flat_at_full else task.metric


def _measure_question(
    question: Question, model: LanguageModel, task: Task, algorithm: Algorithm
) -> Cell:
    try:
        algorithm.check_metric(metrics[question.metric], ablations[question.ablation])
    except ArgumentError as refusal:
        return Cell(question=question, score=None, refused=str(refusal))
    try:
        return Cell(
            question=question,
            score=_score_algorithm(question, model, task, algorithm),
            refused=None,
        )
    except CircuitGraphError as failure:  # a failure here is no reason to stop the other cells
        return Cell(question=question, score=None, refused=str(failure))


def _score_algorithm(
    question: Question, model: LanguageModel, task: Task, algorithm: Algorithm
) -> Score:
    terms = Terms(
        metric=question.metric,
        ablation=question.ablation,
        n_prompts=question.n_discovery,
        n_evaluation=question.n_evaluation,
    )
    bench = Workbench(model, task, terms)
    experiment, prompts = bench.prepare(direct=algorithm.direct)
    circuit = run_search(algorithm, experiment)
    del experiment  # the next experiment needs its memory
    judging, unseen = bench.prepare("evaluation", direct=algorithm.direct)
    scores = choose_ranking_scores(circuit)
    curve = None
    if scores is not None:
        prune = choose_pruning(circuit, question.ablation)
        curve = measure_size_curve(judging, scores, seed=question.seed, prune=prune)
    true = find_known_circuit(model, task, prompts, question.ablation)
    agreement = None if true is None else compare_with_truth(circuit, true, scores)
    repeat_search, n = make_search(model, circuit), question.n_bootstraps
    repeated = None
    if repeat_search is not None and n > 0:
        repeated = measure_stability(repeat_search, prompts, seed=question.seed, n=n)
    return Score(
        n_edges=len(circuit),
        graph_edges=circuit.graph.n_edges,
        faithfulness=measure_faithfulness(
            judging, circuit, unseen, split="evaluation", seed=question.seed
        ).faithfulness,
        auroc=None if agreement is None else agreement.promoted.auroc,
        edge_auroc=None if agreement is None else agreement.edges.auroc,
        cmd=None if curve is None else curve.cmd,
        cpr=None if curve is None else curve.cpr,
        random_cmd=None if curve is None else curve.random_cmd,
        size_95=None if curve is None else curve.size_95,
        stability=None if repeated is None else repeated.overlap,
        seconds=circuit.provenance["algorithm"]["seconds"],
    )
