"""A sweep: the circuits of several thresholds, found in one run and judged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from circuitgraph.catalog.records import CurvePoint, CurveRecord
from circuitgraph.discovery.acdc import Acdc
from circuitgraph.discovery.base import Algorithm, make_algorithm
from circuitgraph.discovery.sweep import Sweep, check_thresholds, run_sweep
from circuitgraph.errors import ArgumentError
from circuitgraph.evaluation.faithfulness import measure_faithfulness
from circuitgraph.graph.circuit import Circuit
from circuitgraph.graph.space import make_space
from circuitgraph.jobs.discover import SearchPlan
from circuitgraph.jobs.setup import GraphChoice, Terms
from circuitgraph.jobs.workbench import Workbench
from circuitgraph.models.language_model import LanguageModel
from circuitgraph.showable import Showable
from circuitgraph.tasks.base import Task


@dataclass(frozen=True)
class Curve(Showable):
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
    terms = Terms(
        graph=GraphChoice(grouped=grouped),
        metric=metric,
        ablation=ablation,
        n_prompts=n_prompts,
        n_evaluation=n_evaluation,
        memory=memory,
    )
    space = {"without": without, "protect": protect, "inside": inside, "start_from": start_from}
    file = None if journal is None else Path(journal)
    plan = SearchPlan(_make_acdc(settings), space, file, anew)
    return sweep_thresholds(Workbench(model, task, terms, bar), plan, thresholds)


def sweep_thresholds(bench: Workbench, plan: SearchPlan, thresholds: Sequence[float]) -> Curve:
    """As `sweep`, on a workbench.

    Args:
        plan: with ACDC, whose own threshold is not used.
    """
    steps = Sweep(tuple(map(float, thresholds)), _check_acdc(plan.algorithm))
    graph = bench.make_graph(direct=steps.search.direct)
    space = make_space(graph, **plan.space)
    prompts = bench.draw_prompts("discovery")
    experiment = bench.make_experiment(prompts, graph, space=space)
    origin = bench.describe(prompts)
    journal = plan.open_journal(origin)
    result = run_sweep(steps, experiment, bar=bench.bar, journal=journal)
    circuits = [replace(c, provenance={**c.provenance, **origin}) for c in result.circuits]
    unseen = bench.draw_prompts("evaluation")
    judging = bench.make_experiment(unseen, graph, at_once=len(prompts))
    points = [
        CurvePoint(
            threshold=threshold,
            n_edges=len(circuit),
            n_tested=circuit.provenance["algorithm"]["n_tested"],
            loss=loss,
            evaluation=measure_faithfulness(
                judging, circuit, unseen, split="evaluation", seed=bench.task.seed, bar=bench.bar
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
    return _check_acdc(make_algorithm("acdc", **settings))


def _check_acdc(algorithm: Algorithm[Any]) -> Acdc:
    if not isinstance(algorithm, Acdc):
        raise ArgumentError(
            f"The algorithm 'acdc' was replaced by {type(algorithm).__name__}, which has no sweep."
        )
    return algorithm
