"""Discovery: the circuit of a task in a model, found by any search, among heads or finer parts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from circuitgraph.catalog.records import RefinementRecord
from circuitgraph.discovery.base import Algorithm, make_algorithm
from circuitgraph.discovery.journal import Journal
from circuitgraph.discovery.journal_file import name_unit_journal
from circuitgraph.discovery.loop import run_search
from circuitgraph.discovery.refinement import (
    AUTO,
    choose_units,
    measure_rests,
    refine_edges,
)
from circuitgraph.engine.ablation import ablations
from circuitgraph.engine.experiment import Experiment
from circuitgraph.graph.circuit import Circuit
from circuitgraph.graph.graph import Graph
from circuitgraph.graph.space import make_space
from circuitgraph.jobs.setup import N_UNITS, GraphChoice, Terms
from circuitgraph.jobs.workbench import Workbench, cut_units
from circuitgraph.models.language_model import LanguageModel
from circuitgraph.tasks.base import Task
from circuitgraph.tasks.metrics import metrics


@dataclass(frozen=True)
class SearchPlan:
    """Which search, where it may look, and where it writes down what it decides.

    Attributes:
        space: keywords of `circuitgraph.graph.space.make_space`.
        journal: the file of its decisions, if there shall be one.
        anew: begin again although the journal is there.
    """

    algorithm: Algorithm[Any]
    space: Mapping[str, Any] = field(default_factory=dict)
    journal: Path | None = None
    anew: bool = False

    def open_journal(self, origin: Mapping[str, Any]) -> Journal | None:
        """The journal of a search on these weights and prompts, under the versions that matter.

        Args:
            origin: of `Workbench.describe`.
        """
        if self.journal is None:
            return None
        versions = {
            name: origin["environment"]["versions"][name]
            for name in ("circuitgraph", "jax", "jaxlib", "numpy")
        }
        environment = {**origin["environment"], "versions": versions}
        return Journal(self.journal, {**origin, "environment": environment}, self.anew)


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
    split_sources: Sequence[str] = (),
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
        split_sources: ``a3.h5:IO,S1`` for each head to be cut into what it fetches at the positions
            of these roles and the rest of it; ``a3.h5`` for all roles that are tokens of their
            own. Positions by number do too.

    Returns:
        The circuit, with every edge's measured effect and all that is needed to run it again.

    Raises:
        CircuitGraphError: an unknown name, a value that makes no sense, prompts that cannot be
            used, a pair of algorithm and metric or ablation that does not work, or the journal of
            another search.
    """
    terms = Terms(
        graph=GraphChoice(
            grouped=grouped,
            granularity=granularity,
            refine=refine,
            n_units=n_units,
            frozen_errors=frozen_errors,
            own_inputs=own_inputs,
            split_sources=split_sources,
        ),
        metric=metric,
        ablation=ablation,
        n_prompts=n_prompts,
        memory=memory,
    )
    space = {"without": without, "protect": protect, "inside": inside, "start_from": start_from}
    file = None if journal is None else Path(journal)
    plan = SearchPlan(make_algorithm(algorithm, **settings), space, file, anew)
    return find_circuit(Workbench(model, task, terms, bar), plan)


def find_circuit(bench: Workbench, plan: SearchPlan) -> Circuit:
    """As `discover`, on a workbench."""
    choice, algorithm = bench.terms.graph, plan.algorithm
    algorithm.check_metric(metrics[bench.metric], ablations[bench.ablation])
    graph = bench.make_graph(direct=algorithm.direct)
    if isinstance(choice, Graph) or choice.granularity == "head":
        return search_graph(bench, plan, graph)[0]
    if choice.frozen_errors:
        algorithm.check_frozen_errors()
    n_head_edges = None
    if choice.chooses_units:
        graph, plan, n_head_edges = _search_heads(bench, plan, graph, choice)
    circuit, experiment = search_graph(bench, plan, graph)
    return _add_refinement(experiment, circuit, choice, n_head_edges)


def search_graph(bench: Workbench, plan: SearchPlan, graph: Graph) -> tuple[Circuit, Experiment]:
    """The circuit in a graph, with all that is needed to run it again, and its experiment."""
    space = make_space(graph, **plan.space)
    plan.algorithm.check_space(space)
    prompts = bench.draw_prompts("discovery")
    experiment = bench.make_experiment(prompts, graph, space=space)
    origin = bench.describe(prompts)
    journal = plan.open_journal(origin)
    circuit = run_search(plan.algorithm, experiment, bar=bench.bar, journal=journal)
    return replace(circuit, provenance={**circuit.provenance, **origin}), experiment


def _search_heads(
    bench: Workbench, plan: SearchPlan, whole: Graph, choice: GraphChoice
) -> tuple[Graph, SearchPlan, int]:
    """Search among heads and MLPs, whose experiment is forgotten before the next one is made.

    Returns:
        The graph with the strongest units of the circuit's MLPs as nodes; the plan to search inside
        that circuit; how many edges it has.
    """
    circuit, experiment = search_graph(bench, plan, whole)
    units = choose_units(experiment, circuit, choice.granularity, choice.n_units)
    refined = cut_units(whole, choice, units)
    protected = refine_edges(whole, experiment.space.protected, refined)
    inner = {
        "protect": Circuit(refined, protected).edges,
        "inside": Circuit(refined, refine_edges(whole, circuit.mask, refined)),
    }
    journal = None if plan.journal is None else name_unit_journal(plan.journal)
    return refined, replace(plan, space=inner, journal=journal), len(circuit)


def _add_refinement(
    experiment: Experiment, circuit: Circuit, choice: GraphChoice, n_head_edges: int | None
) -> Circuit:
    named = sum(len(split.indices) for split in circuit.graph.splits)
    record = RefinementRecord(
        refine=list(choice.refine),
        n_units=choice.n_units if choice.chooses_units else named,
        n_head_edges=n_head_edges,
        rests=measure_rests(experiment, circuit),
    )
    facts = {**circuit.provenance, "refinement": record.model_dump(mode="json")}
    return replace(circuit, provenance=facts)
