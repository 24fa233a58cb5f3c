"""A circuit judged by all that can be measured, on prompts that its search did not see."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from circuitgraph.catalog.judgement_record import JudgementRecord
from circuitgraph.discovery.base import Algorithm, algorithms, make_algorithm
from circuitgraph.discovery.loop import run_search
from circuitgraph.discovery.scoring import Scoring
from circuitgraph.engine.experiment import Experiment
from circuitgraph.errors import ArgumentError, CircuitGraphError, DataError
from circuitgraph.evaluation.baselines import check_graph
from circuitgraph.evaluation.faithfulness import (
    count_seen,
    measure_faithfulness,
    measure_other_metrics,
)
from circuitgraph.evaluation.measures import Known, choose_measures, take_measures
from circuitgraph.graph.circuit import Circuit
from circuitgraph.graph.selection import rank_edges
from circuitgraph.graph.space import make_space
from circuitgraph.jobs.known import find_known_circuit
from circuitgraph.jobs.setup import Terms, recall_task
from circuitgraph.jobs.workbench import Workbench, draw_prompts
from circuitgraph.models.language_model import LanguageModel
from circuitgraph.tasks.base import Task
from circuitgraph.tasks.loading import load_task
from circuitgraph.tasks.prompts import Prompts, Split

EXTRA_METRICS = ("kl", "accuracy")


def judge(
    model: LanguageModel,
    task: Task,
    circuit: Circuit,
    *,
    measures: Sequence[str] = ("quick",),
    truth: Circuit | None = None,
    metric: str | None = None,
    ablation: str | None = None,
    n_prompts: int | None = None,
    split: Split = "evaluation",
    force_seen: bool = False,
    memory: int | None = None,
    bar: bool = False,
) -> JudgementRecord:
    """Judge a circuit by more than `evaluate`: completeness, minimality, curve, truth, stability.

    KL to the whole model and accuracy are added, whatever the metric is.

    Args:
        measures: ``completeness``, ``minimality``, ``curve``, ``truth`` and ``stability``, which
            runs the search again, several times; ``all`` that this circuit allows; or ``quick``,
            the first two where they do not take long. Faithfulness is always among them.
        truth: the true circuit, if it is known.
        metric, ablation: those of the search if None (the task's metric and ``resample`` for other
            circuits).
        n_prompts: number of prompts (200 by default, 50 of the discovery split, or fewer if a file
            has fewer).
        split: which prompts to judge by.
        force_seen: judge even by prompts that the search saw. The record says how many they are.
        memory: limit in bytes for one launch, on each device.
        bar: show progress and time left.

    Raises:
        GraphError: the circuit, or the true one, is of another graph than the model's.
        UnknownNameError: no measure of that name.
        ArgumentError: the search saw some of the prompts, or something is missing that a measure
            needs.
    """
    terms = Terms(
        metric=metric,
        ablation=ablation,
        n_prompts=n_prompts,
        n_evaluation=n_prompts,
        memory=memory,
    )
    bench = Workbench(model, task, terms, bar)
    return judge_circuit(
        bench, circuit, measures=measures, truth=truth, split=split, force_seen=force_seen
    )


def judge_circuit(
    bench: Workbench,
    circuit: Circuit,
    *,
    measures: Sequence[str] = ("quick",),
    truth: Circuit | None = None,
    split: Split = "evaluation",
    force_seen: bool = False,
) -> JudgementRecord:
    """As `judge`, on a workbench."""
    bench = bench.adopt_circuit(circuit)
    model, task, seed, bar = bench.model, bench.task, bench.task.seed, bench.bar
    graph = bench.make_graph()
    check_graph(graph, circuit)
    if truth is not None:
        check_graph(graph, truth, "The true circuit")
    prompts = bench.draw_prompts(split)
    search_prompts = draw_search_prompts(model, task, circuit)
    seen = _count_seen(prompts, split, circuit, search_prompts, force_seen)
    known = Known(
        scores=choose_ranking_scores(circuit),
        true=truth,
        discover=make_search(model, circuit, bench.terms.memory),
        prompts=search_prompts,
        prune=choose_pruning(circuit, bench.ablation),
    )
    names = choose_measures(measures, known, circuit, model.n_parameters * prompts.mask.size)
    experiment = bench.make_experiment(prompts, graph)
    base = measure_faithfulness(
        experiment, circuit, prompts, split=split, seed=seed, seen=seen, bar=bar
    )
    extra = take_measures(names, experiment, circuit, known, seed=seed, bar=bar)
    added = [name for name in EXTRA_METRICS if name != bench.metric]
    others = measure_other_metrics(experiment, circuit, added, seed=seed)
    return JudgementRecord.model_validate({**dict(base), "metrics": others, **extra})


def find_true_circuit(model: LanguageModel, task: Task, circuit: Circuit) -> Circuit:
    """The true circuit on the prompts, and under the ablation, of the search for ``circuit``.

    Raises:
        DataError: nobody knows it.
    """
    prompts = draw_search_prompts(model, task, circuit) or draw_prompts(task, "discovery")
    ablation = circuit.provenance.get("ablation") or "resample"
    true_circuit = find_known_circuit(model, task, prompts, ablation)
    if true_circuit is None:
        raise DataError(
            f"The true circuit of task {task.name!r} in {model.name!r} is not known. Give a stored "
            "circuit that you hold for true."
        )
    return true_circuit


def choose_ranking_scores(circuit: Circuit) -> Float[np.ndarray, " edges"] | None:
    """The scores to rank a circuit's edges by; None if the circuit has no scores.

    These are the scores of a search that scores all edges first and selects then. Of any other
    search, such as ACDC, scores of two edges cannot be compared: `ranking` makes ranks of them.
    """
    if circuit.scores is None:
        return None
    name = (circuit.provenance.get("algorithm") or {}).get("name")
    complete = circuit.tested is None or bool(circuit.tested.all())
    by_score = name is None or (name in algorithms and issubclass(algorithms[name], Scoring))
    return circuit.scores if complete and by_score else rank_edges(circuit)


def choose_pruning(circuit: Circuit, ablation: str) -> bool:
    """Whether a size curve's circuits lose the edges on no path, so that one circuit has one value.

    Under resampling they do, because it changes no value. Else they do if the search drops such
    edges from its own circuit (its setting ``prune``); or, where no search is named, if the circuit
    has no such edges.
    """
    if ablation == "resample":
        return True
    search = circuit.provenance.get("algorithm")
    if search is None:
        return circuit == circuit.pruned()
    return bool(search.get("arguments", {}).get("prune", False))


def draw_search_prompts(model: LanguageModel, task: Task, circuit: Circuit) -> Prompts | None:
    """Draw the prompts that a circuit's search saw again, as the circuit's record says.

    None if the record names no prompts, or if they cannot be drawn: the file is gone or has
    changed, or the task is not registered here.

    Args:
        task: draws the prompts if it is the task of the search; else that task is loaded.
    """
    record = circuit.provenance.get("task")
    if record is None:
        return None
    try:
        identity = (task.name, dict(task.arguments), task.seed)
        if identity != (record["name"], record["arguments"], record["seed"]):
            task = load_search_task(model, record)
        prompts = task.prompts(record["n_prompts"], record["split"])
    except CircuitGraphError:
        return None
    return prompts if prompts.fingerprint == record["prompts_sha256"] else None


def load_search_task(model: LanguageModel, record: Mapping[str, Any]) -> Task:
    """The task that a circuit's record names, with its settings.

    Raises:
        CircuitGraphError: it is not registered here, or its file is gone.
    """
    name, settings = recall_task(record["name"], record["arguments"])
    return load_task(name, model, seed=record["seed"], **settings)


def make_search(
    model: LanguageModel, circuit: Circuit, memory: int | None = None
) -> Callable[[Prompts], Circuit] | None:
    """The search that found a circuit, to be run on other prompts; None as `read_search` says."""
    algorithm = read_search(circuit)
    if algorithm is None:
        return None
    return lambda prompts: run_search(
        algorithm, repeat_experiment(model, circuit, prompts, memory=memory)
    )


def read_search(circuit: Circuit) -> Algorithm[Any] | None:
    """The search that found a circuit, with the settings that it had.

    None if the circuit does not name its search, or if the means of its ablation were taken over
    prompts of their own.
    """
    origin = circuit.provenance
    if not origin.get("algorithm") or origin.get("reference_sha256") is not None:
        return None
    if origin.get("metric") is None or origin.get("ablation") is None:
        return None
    name, arguments = origin["algorithm"]["name"], origin["algorithm"]["arguments"]
    return make_algorithm(name, **algorithms[name].complete_arguments(arguments))


def repeat_experiment(
    model: LanguageModel,
    circuit: Circuit,
    prompts: Prompts,
    *,
    metric: str | None = None,
    memory: int | None = None,
) -> Experiment:
    """What the search for a circuit asked, of other prompts; by another metric if one is given."""
    origin = circuit.provenance
    return Experiment(
        model,
        prompts,
        metric=metric or origin["metric"],
        ablation=origin["ablation"],
        graph=circuit.graph,
        space=make_space(circuit.graph, **(origin.get("space") or {})),
        memory=memory,
    )


def _count_seen(
    prompts: Prompts, split: Split, circuit: Circuit, search_prompts: Prompts | None, force: bool
) -> int | None:
    """How many of the prompts the search saw; None if nobody knows.

    The two splits of a task share no clean prompt, so that unseen prompts are known to be unseen
    even where the prompts of the search cannot be drawn again.

    Raises:
        ArgumentError: the search saw some of them, or nobody knows, and ``force`` is false.
    """
    if search_prompts is not None:
        seen = count_seen(prompts, search_prompts)
    else:
        seen = None if split == "discovery" and circuit.provenance.get("task") else 0
    if seen == 0 or force:
        return seen
    problem = f"The search saw {seen} of these {len(prompts)} prompts"
    if seen is None:
        problem = (
            "Which prompts the search saw cannot be found out, and these are of the split that it "
            "saw some of"
        )
    raise ArgumentError(
        f"{problem}: how a circuit does on them says little about others. Judge it on the "
        "evaluation split, or force it (--force-seen, force_seen=True); the record will say so."
    )
