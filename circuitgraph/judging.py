"""A circuit judged by all that can be measured, on prompts that its search did not see."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float

from circuitgraph.api import N_DISCOVERY, N_EVALUATION, draw, load_task
from circuitgraph.catalog.judgement_record import JudgementRecord
from circuitgraph.discovery.base import algorithms, make_algorithm
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
from circuitgraph.evaluation.size_curve import rank_edges
from circuitgraph.graph.circuit import Circuit
from circuitgraph.known import known_circuit
from circuitgraph.models.language_model import LanguageModel
from circuitgraph.tasks.base import Task
from circuitgraph.tasks.prompts import Prompts, Split

ALSO = ("kl", "accuracy")


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
    """Judge a circuit by more than `evaluate`: other metrics, completeness, minimality, size curve,
    truth, stability.

    KL to the whole model and accuracy are added whatever the metric.

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
    graph = model.graph(direct=circuit.graph.direct, grouped=circuit.graph.n_kv_heads is not None)
    check_graph(graph, circuit)
    if truth is not None:
        check_graph(graph, truth, "The true circuit")
    prompts = draw(task, split, n_prompts, N_DISCOVERY if split == "discovery" else N_EVALUATION)
    searched = searched_prompts(model, task, circuit)
    seen = _seen(prompts, split, circuit, searched, force_seen)
    known = Known(scores_of(circuit), truth, search_again(model, circuit, memory), searched)
    names = choose_measures(measures, known, circuit, model.n_parameters * prompts.mask.size)
    of_search, by = (
        circuit.provenance.get("ablation"),
        metric or circuit.provenance.get("metric") or task.metric,
    )

    experiment = Experiment(
        model,
        prompts,
        metric=by,
        ablation=ablation or of_search or "resample",
        graph=graph,
        memory=memory,
    )
    base = measure_faithfulness(
        experiment, circuit, prompts, split=split, seed=task.seed, seen=seen, bar=bar
    )
    more = take_measures(names, experiment, circuit, known, seed=task.seed, bar=bar)
    others = measure_other_metrics(
        experiment, circuit, [name for name in ALSO if name != by], seed=task.seed
    )
    return JudgementRecord.model_validate({**dict(base), "metrics": others, **more})


def true_circuit(model: LanguageModel, task: Task, circuit: Circuit) -> Circuit:
    """The circuit that is known to be true where ``circuit`` was searched for: on its prompts,
    under its ablation.

    Raises:
        DataError: nobody knows it.
    """
    prompts = searched_prompts(model, task, circuit) or draw(task, "discovery", None, N_DISCOVERY)
    found = known_circuit(model, task, prompts, circuit.provenance.get("ablation") or "resample")
    if found is None:
        raise DataError(
            f"The true circuit of task {task.name!r} in {model.name!r} is not known. Give a stored "
            "circuit that you hold for true."
        )
    return found


def scores_of(circuit: Circuit) -> Float[np.ndarray, " edges"] | None:
    """By what to rank a circuit's edges: the scores of a search that scores first and selects then,
    else `ranking`.

    None if the circuit has no scores.
    """
    if circuit.scores is None:
        return None
    name = (circuit.provenance.get("algorithm") or {}).get("name")
    complete = circuit.tested is None or bool(circuit.tested.all())
    by_score = name is None or (name in algorithms and issubclass(algorithms[name], Scoring))
    return circuit.scores if complete and by_score else rank_edges(circuit)


def searched_prompts(model: LanguageModel, task: Task, circuit: Circuit) -> Prompts | None:
    """The prompts that a circuit's search saw, drawn again as its record says.

    None if it names none, or they cannot be had: the file is gone or has changed, the task is not
    registered here.

    Args:
        task: is asked itself if it is the task of the search.
    """
    record = circuit.provenance.get("task")
    if record is None:
        return None
    try:
        own = (task.name, dict(task.arguments), task.seed) == (
            record["name"],
            record["arguments"],
            record["seed"],
        )
        prompts = (task if own else _task(model, record)).prompts(
            record["n_prompts"], record["split"]
        )
    except CircuitGraphError:
        return None
    return prompts if prompts.fingerprint == record["prompts_sha256"] else None


def _task(model: LanguageModel, record: dict) -> Task:
    if "data" in record["arguments"]:
        return load_task(Path(record["arguments"]["data"]), model, seed=record["seed"])
    return load_task(record["name"], model, seed=record["seed"], **record["arguments"])


def search_again(
    model: LanguageModel, circuit: Circuit, memory: int | None = None
) -> Callable[[Prompts], Circuit] | None:
    """The search that found a circuit, to be run on other prompts; None if the circuit does not say
    which.

    Neither does one whose means were taken over prompts of their own.
    """
    known = circuit.provenance
    if not known.get("algorithm") or known.get("reference_sha256") is not None:
        return None

    def discover(prompts: Prompts) -> Circuit:
        algorithm = make_algorithm(known["algorithm"]["name"], **known["algorithm"]["arguments"])
        question = {"metric": known["metric"], "ablation": known["ablation"], "memory": memory}
        return run_search(algorithm, Experiment(model, prompts, graph=circuit.graph, **question))

    return discover


def _seen(
    prompts: Prompts, split: Split, circuit: Circuit, searched: Prompts | None, force: bool
) -> int | None:
    """How many of the prompts the search saw; None if that cannot be told. Refuses any unless
    forced.

    The splits of a task share no clean prompt, whatever else is known.
    """
    if searched is not None:
        seen = count_seen(prompts, searched)
    else:
        seen = None if split == "discovery" and circuit.provenance.get("task") else 0
    if seen == 0 or force:
        return seen
    which = f"The search saw {seen} of these {len(prompts)} prompts"
    if seen is None:
        which = "Which prompts the search saw cannot be found out, and these are of the split that it saw some of"
    raise ArgumentError(
        f"{which}: how a circuit does on them says little about others. Judge it on the evaluation "
        "split, or force it (--force-seen, force_seen=True); the record will say so."
    )
