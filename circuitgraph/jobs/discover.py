"""Discovery: the circuit of a task in a model, found by any search, among heads or finer parts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from circuitgraph.catalog.records import RefinementRecord
from circuitgraph.discovery.base import Algorithm, make_algorithm
from circuitgraph.discovery.journal_file import name_unit_journal
from circuitgraph.discovery.loop import run_search
from circuitgraph.discovery.refinement import (
    AUTO,
    Units,
    check_has_errors,
    choose_units,
    measure_rests,
    read_granularity,
    refine_edges,
    refine_graph,
)
from circuitgraph.engine.ablation import ablations
from circuitgraph.engine.experiment import Experiment
from circuitgraph.graph.circuit import Circuit
from circuitgraph.graph.graph import Graph
from circuitgraph.graph.space import make_space
from circuitgraph.jobs.setup import describe_search, open_journal, prepare_experiment
from circuitgraph.models.language_model import LanguageModel
from circuitgraph.tasks.base import Task
from circuitgraph.tasks.metrics import metrics

N_UNITS = 64


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
    setup = SearchSetup(
        model, task, search_algorithm, metric, ablation, n_prompts, memory, bar, journal, anew
    )
    space = {"without": without, "protect": protect, "inside": inside, "start_from": start_from}
    if granularity == "head":
        return setup.search(whole, space)[0]
    if units is not None:
        refined = refine_graph(whole, granularity, units, frozen_errors=frozen_errors)
        circuit, experiment = setup.search(refined, space)
        return _add_refinement(experiment, circuit, refine, sum(map(len, units.values())))
    refine_by = partial(refine_graph, whole, granularity, frozen_errors=frozen_errors)
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
        origin = describe_search(self.model, self.task, prompts)
        journal = open_journal(self.journal, origin, self.anew)
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
