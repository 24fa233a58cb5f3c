"""The main job in three calls: a task, a search, a judgement. The command line calls these too."""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

import jax

import circuitgraph
from circuitgraph.catalog.records import (
    AttachedDictionaryRecord,
    CurvePoint,
    CurveRecord,
    Environment,
    EvaluationRecord,
    ModelRecord,
    RefinementRecord,
    TaskRecord,
)
from circuitgraph.discovery.acdc import Acdc
from circuitgraph.discovery.base import Algorithm, make_algorithm
from circuitgraph.discovery.journal import Journal
from circuitgraph.discovery.journal_file import name_unit_journal
from circuitgraph.discovery.loop import run_search
from circuitgraph.discovery.refinement import (
    AUTO,
    Units,
    check_has_errors,
    check_has_units,
    choose_units,
    measure_rests,
    read_granularity,
    refine_edges,
    refine_graph,
)
from circuitgraph.discovery.sweep import Sweep, check_thresholds, run_sweep
from circuitgraph.engine.ablation import ablations
from circuitgraph.engine.experiment import Experiment
from circuitgraph.errors import ArgumentError, DataError
from circuitgraph.evaluation.faithfulness import measure_faithfulness
from circuitgraph.graph.circuit import Circuit
from circuitgraph.graph.graph import Graph
from circuitgraph.graph.space import SearchSpace, make_space
from circuitgraph.models.language_model import LanguageModel
from circuitgraph.tasks.base import Task
from circuitgraph.tasks.metrics import metrics
from circuitgraph.tasks.prompts import Prompts, Split

N_DISCOVERY = 50
N_EVALUATION = 200
N_UNITS = 64


def draw_prompts(
    task: Task, split: Split, n: int | None = None, *, default: int | None = None
) -> Prompts:
    """Draw ``n`` prompts; if None, the default number (of the split, if None too), or all where a
    file has fewer.
    """
    if n is None:
        default = default or (N_DISCOVERY if split == "discovery" else N_EVALUATION)
        supply = task.count_pairs(split)
        if supply == 0:
            raise DataError(
                f"{task.name!r} has no pair for {split}: all of them are for the search "
                "(judging=False). Judge on another file."
            )
        n = min(default, supply or default)
    return task.prompts(n, split)


def discover(
    model: LanguageModel,
    task: Task,
    *,
    algorithm: str = "acdc",
    metric: str | None = None,
    ablation: str = "resample",
    grouped: bool = False,
    n_prompts: int | None = None,
    memory: int | None = None,
    bar: bool = False,
    journal: str | Path | None = None,
    anew: bool = False,
    without: Sequence[str] = (),
    protect: Circuit | Sequence[str] = (),
    inside: Circuit | Sequence[str] | None = None,
    start_from: Circuit | Sequence[str] | None = None,
    granularity: str = "head",
    refine: Sequence[str] = (AUTO,),
    n_units: int = N_UNITS,
    frozen_errors: bool = False,
    own_inputs: bool = False,
    **settings: Any,
) -> Circuit:
    """Find the circuit of a task in a model.

    Args:
        algorithm: name of the search; ``settings`` are its own, such as ``threshold=0.05`` for
            ACDC.
        metric: what the behaviour is measured by; the task's default if None.
        ablation: what an absent edge carries.
        grouped: one k and one v reader for each key-value head, not for each query head.
        n_prompts: number of discovery prompts (50 by default, or fewer if a file has fewer).
        memory: limit in bytes for one launch, on each device. With several, candidates and prompts
            are shared out.
        bar: show progress and time left.
        journal: file in which every decision is written down. If the search was stopped, the same
            call with the same file goes on where it ended, and ends in the same circuit.
        anew: begin again although the file is there.
        without, protect, inside, start_from: the search space, as in
            `circuitgraph.graph.space.make_space`: nodes, groups such as ``mlps`` and edges that
            are never (``without``) or always (``protect``) in the circuit; the circuit to stay
            inside; the circuit to begin with.
        granularity: ``head``: nodes are heads and MLPs. ``neuron``: some MLPs are cut into neurons
            and the rest of them, as ``refine`` says. ``feature``: likewise into features of the
            dictionaries that `attach_dictionaries` put beside the model, with their errors.
        refine: ``m3:all`` or ``m3:117,204`` for each MLP to be cut; or ``auto``: search among heads
            and MLPs first, cut the MLPs of that circuit, and go on inside it.
        n_units: how many units ``auto`` makes nodes: those that matter most to first order.
        frozen_errors: of features, keep the errors of dictionaries as they are in the clean run,
            whatever their MLPs read; by default they are computed anew.
        own_inputs: each neuron or feature has an input of its own, so that edges into it are
            decided on one by one; by default all parts of an MLP share its input.

    Returns:
        The circuit, with every edge's measured effect and all that is needed to run it again.

    Raises:
        CircuitGraphError: an unknown name, a value that makes no sense, prompts that cannot be
            used, a pair of algorithm and metric or ablation that does not work, or the journal of
            another search.
    """
    search_algorithm = make_algorithm(algorithm, **settings)
    search_algorithm.check_metric(metrics[metric or task.metric], ablations[ablation])
    whole = model.graph(direct=search_algorithm.direct, grouped=grouped)
    units = read_granularity(model, granularity, refine, n_units)
    if frozen_errors:
        check_has_errors(granularity)
        search_algorithm.check_frozen_errors()
    if own_inputs:
        check_has_units(granularity)
    setup = SearchSetup(
        model, task, search_algorithm, metric, ablation, n_prompts, memory, bar, journal, anew
    )
    space = {"without": without, "protect": protect, "inside": inside, "start_from": start_from}
    if granularity == "head":
        return setup.search(whole, space)[0]
    how = {"frozen_errors": frozen_errors, "own_inputs": own_inputs}
    if units is not None:
        refined = refine_graph(whole, granularity, units, **how)
        circuit, experiment = setup.search(refined, space)
        return _add_refinement(experiment, circuit, refine, sum(map(len, units.values())))
    refine_by = partial(refine_graph, whole, granularity, **how)
    choose = partial(choose_units, kind=granularity, n=n_units)
    refined, inner, n_head_edges = _search_heads(setup, whole, space, choose, refine_by)
    own_journal = None if journal is None else name_unit_journal(Path(journal))
    circuit, experiment = replace(setup, journal=own_journal).search(refined, inner)
    return _add_refinement(experiment, circuit, refine, n_units, n_head_edges)


@dataclass(frozen=True)
class SearchSetup:
    """What a search is told, but for the graph and its space; see `discover`."""

    model: LanguageModel
    task: Task
    algorithm: Algorithm[Any]
    metric: str | None
    ablation: str
    n_prompts: int | None
    memory: int | None
    bar: bool
    journal: str | Path | None
    anew: bool

    def search(self, graph: Graph, space: Mapping[str, Any]) -> tuple[Circuit, Experiment]:
        """The circuit in a graph, with all that is needed to run it again, and its experiment."""
        search_space = make_space(graph, **space)
        self.algorithm.check_space(search_space)
        experiment, prompts = prepare_experiment(
            self.model,
            self.task,
            space=search_space,
            graph=graph,
            metric=self.metric,
            ablation=self.ablation,
            n_prompts=self.n_prompts,
            memory=self.memory,
        )
        origin = _describe_search(self.model, self.task, prompts)
        journal = _open_journal(self.journal, origin, self.anew)
        circuit = run_search(self.algorithm, experiment, bar=self.bar, journal=journal)
        return replace(circuit, provenance={**circuit.provenance, **origin}), experiment


def _search_heads(
    setup: SearchSetup,
    whole: Graph,
    space: Mapping[str, Any],
    choose: Callable[[Experiment, Circuit], Units],
    refine: Callable[[Units], Graph],
) -> tuple[Graph, dict[str, Any], int]:
    """Search among heads and MLPs, whose experiment is forgotten before the next one is made.

    Returns:
        The graph with the strongest units of the circuit's MLPs as nodes; the space inside that
        circuit; how many edges it has.
    """
    circuit, experiment = setup.search(whole, space)
    refined = refine(choose(experiment, circuit))
    protected = refine_edges(whole, experiment.space.protected, refined)
    inner = {
        "protect": Circuit(refined, protected).edges,
        "inside": Circuit(refined, refine_edges(whole, circuit.mask, refined)),
    }
    return refined, inner, len(circuit)


def _add_refinement(
    experiment: Experiment,
    circuit: Circuit,
    refine: Sequence[str],
    n_units: int,
    n_head_edges: int | None = None,
) -> Circuit:
    record = RefinementRecord(
        refine=list(refine),
        n_units=n_units,
        n_head_edges=n_head_edges,
        rests=measure_rests(experiment, circuit),
    )
    facts = {**circuit.provenance, "refinement": record.model_dump(mode="json")}
    return replace(circuit, provenance=facts)


@dataclass(frozen=True)
class Curve:
    """The circuits of several thresholds.

    Attributes:
        circuits: one for each threshold, in their order.
        record: size, loss and faithfulness of each.
    """

    circuits: tuple[Circuit, ...]
    record: CurveRecord


def sweep(
    model: LanguageModel,
    task: Task,
    thresholds: Sequence[float],
    *,
    metric: str | None = None,
    ablation: str = "resample",
    grouped: bool = False,
    n_prompts: int | None = None,
    n_evaluation: int | None = None,
    memory: int | None = None,
    bar: bool = False,
    journal: str | Path | None = None,
    anew: bool = False,
    without: Sequence[str] = (),
    protect: Circuit | Sequence[str] = (),
    inside: Circuit | Sequence[str] | None = None,
    start_from: Circuit | Sequence[str] | None = None,
    **settings: Any,
) -> Curve:
    """Find ACDC's circuit at each of several thresholds in one run, and judge all these circuits.

    They are judged on prompts that the search did not see. Each circuit is exactly the one that
    `discover` finds at its threshold. Tests are shared as far as the searches decide alike.

    Args:
        thresholds: strictly increasing; ``settings`` are ACDC's others. All else is as in
            `discover`.
        n_evaluation: number of evaluation prompts, as in `evaluate`.

    Raises:
        CircuitGraphError: as in `discover`; thresholds out of order or repeated.
    """
    check_thresholds(thresholds)
    steps = Sweep(tuple(map(float, thresholds)), _make_acdc(settings))
    setup: dict[str, Any] = {
        "direct": steps.search.direct,
        "grouped": grouped,
        "metric": metric,
        "ablation": ablation,
        "memory": memory,
    }
    space = make_space(
        model.graph(direct=steps.search.direct, grouped=grouped),
        without=without,
        protect=protect,
        inside=inside,
        start_from=start_from,
    )
    experiment, prompts = prepare_experiment(model, task, n_prompts=n_prompts, space=space, **setup)
    origin = _describe_search(model, task, prompts)
    result = run_sweep(steps, experiment, bar=bar, journal=_open_journal(journal, origin, anew))
    circuits = [replace(c, provenance={**c.provenance, **origin}) for c in result.circuits]
    judging, unseen = prepare_experiment(
        model,
        task,
        split="evaluation",
        n_prompts=n_evaluation,
        at_once=len(prompts),
        **setup,
    )
    points = [
        CurvePoint(
            threshold=threshold,
            n_edges=len(circuit),
            n_tested=circuit.provenance["algorithm"]["n_tested"],
            loss=loss,
            evaluation=measure_faithfulness(
                judging, circuit, unseen, split="evaluation", seed=task.seed, bar=bar
            ),
        )
        for threshold, circuit, loss in zip(steps.thresholds, circuits, result.losses, strict=True)
    ]
    record = CurveRecord(
        metric=experiment.metric.name,
        ablation=experiment.ablation.name,
        n_edges=experiment.graph.n_edges,
        n_tested=result.n_tested,
        n_alone=result.n_alone,
        seconds=result.seconds,
        points=points,
    )
    return Curve(tuple(circuits), record)


def _make_acdc(settings: Mapping[str, Any]) -> Acdc:
    """ACDC with these settings; a single threshold among many is refused."""
    if "threshold" in settings:
        raise ArgumentError("Both threshold and thresholds were given: give one of them.")
    acdc = make_algorithm("acdc", **settings)
    if not isinstance(acdc, Acdc):
        raise ArgumentError(
            f"The algorithm 'acdc' was replaced by {type(acdc).__name__}, which has no sweep."
        )
    return acdc


def _open_journal(path: str | Path | None, origin: Mapping[str, Any], anew: bool) -> Journal | None:
    """The journal of a search on these weights and prompts, under the versions that matter."""
    if path is None:
        return None
    versions = {
        name: origin["environment"]["versions"][name]
        for name in ("circuitgraph", "jax", "jaxlib", "numpy")
    }
    environment = {**origin["environment"], "versions": versions}
    facts = {"model": origin["model"], "task": origin["task"], "environment": environment}
    return Journal(Path(path), facts, anew)


def prepare_experiment(
    model: LanguageModel,
    task: Task,
    *,
    split: Split = "discovery",
    direct: bool = False,
    grouped: bool = False,
    metric: str | None = None,
    ablation: str = "resample",
    n_prompts: int | None = None,
    memory: int | None = None,
    space: SearchSpace | None = None,
    at_once: int | None = None,
    graph: Graph | None = None,
) -> tuple[Experiment, Prompts]:
    """The experiment that `discover` searches in (or `evaluate` judges by), and its prompts.

    Args:
        graph: by default the model's own, as ``direct`` and ``grouped`` say.
    """
    prompts = draw_prompts(task, split, n_prompts)
    graph = model.graph(direct=direct, grouped=grouped) if graph is None else graph
    experiment = Experiment(
        model,
        prompts,
        metric=metric or task.metric,
        ablation=ablation,
        graph=graph,
        memory=memory,
        space=space,
        at_once=at_once,
    )
    return experiment, prompts


def evaluate(
    model: LanguageModel,
    task: Task,
    circuit: Circuit,
    *,
    metric: str | None = None,
    ablation: str | None = None,
    n_prompts: int | None = None,
    memory: int | None = None,
    bar: bool = False,
) -> EvaluationRecord:
    """Judge a circuit on unseen prompts: faithfulness, beside random circuits of equal size.

    Args:
        metric, ablation: those of the search if None (the task's metric and ``resample`` for other
            circuits).
        n_prompts: number of evaluation prompts (200 by default, or fewer if a file has fewer).
        bar: show progress and time left.

    Raises:
        GraphError: the circuit is of another model's graph.
    """
    experiment, prompts = prepare_experiment(
        model,
        task,
        split="evaluation",
        graph=model.graph_like(circuit.graph),
        metric=metric or circuit.provenance.get("metric"),
        ablation=ablation or circuit.provenance.get("ablation") or "resample",
        n_prompts=n_prompts,
        memory=memory,
        # as the search had them, whose compiled programs then serve
        at_once=circuit.provenance.get("task", {}).get("n_prompts"),
    )
    return measure_faithfulness(
        experiment, circuit, prompts, split="evaluation", seed=task.seed, bar=bar
    )


def describe_model(model: LanguageModel) -> ModelRecord:
    """What is written down of a model."""
    return ModelRecord(
        name=model.name,
        family=model.family,
        revision=model.revision,
        weights_sha256=model.fingerprint,
        tokenizer_sha256=model.tokenizer.fingerprint if model.tokenizer else None,
        n_parameters=model.n_parameters,
        options=dict(model.options),
        dictionaries=[
            AttachedDictionaryRecord(layer=layer, name=each.name, sha256=each.fingerprint)
            for layer, each in model.dictionaries.items()
        ],
    )


def describe_task(task: Task, prompts: Prompts, split: Split) -> TaskRecord:
    """What is written down of a task and of its prompts."""
    return TaskRecord(
        name=task.name,
        arguments=dict(task.arguments),
        seed=task.seed,
        split=split,
        n_prompts=len(prompts),
        prompts_sha256=prompts.fingerprint,
    )


def _describe_search(model: LanguageModel, task: Task, prompts: Prompts) -> dict[str, Any]:
    """Model, prompts and environment of a search, as plain JSON values."""
    records = {
        "model": describe_model(model),
        "task": describe_task(task, prompts, "discovery"),
        "environment": describe_environment(model.dtype),
    }
    return {name: record.model_dump(mode="json") for name, record in records.items()}


def describe_environment(precision: str) -> Environment:
    """Versions, backend and devices of this process, and the precision that a model ran in."""
    packages = ("jax", "jaxlib", "equinox", "numpy", "torch", "transformers")
    versions = {name: metadata.version(name) for name in packages}
    versions |= {"circuitgraph": circuitgraph.__version__, "python": platform.python_version()}
    return Environment(
        precision=precision,
        backend=jax.default_backend(),
        devices=jax.device_count(),
        versions=versions,
    )
