"""A workbench: a model and a task that are loaded, with what is asked of them. Jobs work on it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from circuitgraph.analysis.places import list_roles_apart
from circuitgraph.discovery.head_sources import parse_head_sources, split_heads
from circuitgraph.discovery.refinement import (
    Units,
    check_has_errors,
    check_has_units,
    read_granularity,
    refine_graph,
)
from circuitgraph.engine.experiment import Experiment
from circuitgraph.errors import DataError
from circuitgraph.graph.circuit import Circuit
from circuitgraph.graph.graph import Graph
from circuitgraph.graph.space import SearchSpace
from circuitgraph.jobs.setup import GraphChoice, Setup, Terms
from circuitgraph.models import loading
from circuitgraph.models.language_model import LanguageModel
from circuitgraph.tasks.base import Task
from circuitgraph.tasks.describing import describe_environment, describe_model, describe_task
from circuitgraph.tasks.loading import load_task
from circuitgraph.tasks.prompts import Prompts, Split

N_DISCOVERY = 50
N_EVALUATION = 200


@dataclass(frozen=True)
class Workbench:
    """What all jobs on a model and a task have at hand.

    Attributes:
        terms: what is asked; where something is None, the properties here say what holds.
        bar: show progress and time left.
    """

    model: LanguageModel
    task: Task
    terms: Terms = field(default_factory=Terms)
    bar: bool = False

    @property
    def metric(self) -> str:
        """The name of the metric."""
        return self.terms.metric or self.task.metric

    @property
    def ablation(self) -> str:
        """The name of the ablation."""
        return "resample" if self.terms.ablation is None else self.terms.ablation

    def make_graph(self, *, direct: bool = False) -> Graph:
        """The graph that is searched; or the first, if a search chooses the units of the second.

        Args:
            direct: the reference's direct edges; the graph of a circuit says itself.

        Raises:
            ArgumentError: a choice that makes no sense, or not with this model.
            GraphError: the graph of a circuit is of other parts than the model has.
        """
        choice = self.terms.graph
        if isinstance(choice, Graph):
            return self.model.graph_like(choice)
        whole = self.model.graph(direct=direct, grouped=choice.grouped)
        if choice.split_sources:
            sources = parse_head_sources(choice.split_sources)
            by_roles = not all(sources.values())
            roles = list_roles_apart(self.draw_prompts("discovery")) if by_roles else ()
            whole = split_heads(whole, sources, roles)
        kind = choice.granularity
        units = read_granularity(self.model, kind, choice.refine, choice.n_units)
        if choice.frozen_errors:
            check_has_errors(kind)
        if choice.own_inputs:
            check_has_units(kind)
        return whole if units is None else cut_units(whole, choice, units)

    def draw_prompts(self, split: Split) -> Prompts:
        """The prompts of a split, as many as the terms say."""
        terms = self.terms
        n = terms.n_prompts if split == "discovery" else terms.n_evaluation
        return draw_prompts(self.task, split, n)

    def prepare(
        self,
        split: Split = "discovery",
        *,
        direct: bool = False,
        space: SearchSpace | None = None,
    ) -> tuple[Experiment, Prompts]:
        """The experiment in the graph of `make_graph` on the prompts of a split, and these."""
        prompts = self.draw_prompts(split)
        return self.make_experiment(prompts, self.make_graph(direct=direct), space=space), prompts

    def make_experiment(
        self,
        prompts: Prompts,
        graph: Graph,
        *,
        space: SearchSpace | None = None,
        at_once: int | None = None,
    ) -> Experiment:
        """The experiment on some prompts; arguments and errors as of `Experiment`."""
        return Experiment(
            self.model,
            prompts,
            metric=self.metric,
            ablation=self.ablation,
            graph=graph,
            memory=self.terms.memory,
            space=space,
            at_once=at_once,
        )

    def adopt_circuit(self, circuit: Circuit) -> Workbench:
        """The workbench on which a circuit is judged: in its graph, and by the metric and ablation
        of its search where the terms name none.
        """
        origin = circuit.provenance
        terms = replace(
            self.terms,
            graph=circuit.graph,
            metric=self.terms.metric or origin.get("metric"),
            ablation=self.terms.ablation or origin.get("ablation"),
        )
        return replace(self, terms=terms)

    def describe(self, prompts: Prompts) -> dict[str, Any]:
        """Model, prompts and environment of a search, as plain JSON values.

        They are what a circuit's record says of them, and a journal's header.
        """
        records = {
            "model": describe_model(self.model),
            "task": describe_task(self.task, prompts, "discovery"),
            "environment": describe_environment(self.model),
        }
        return {name: record.model_dump(mode="json") for name, record in records.items()}


def cut_units(whole: Graph, choice: GraphChoice, units: Units) -> Graph:
    """A graph of heads and MLPs with these units as nodes of their own, as a choice has them."""
    return refine_graph(
        whole,
        choice.granularity,
        units,
        frozen_errors=choice.frozen_errors,
        own_inputs=choice.own_inputs,
    )


def load_setup(setup: Setup, *, bar: bool = False) -> Workbench:
    """Load the model and the task that a setup names.

    Raises:
        CircuitGraphError: as `circuitgraph.load_model` and `circuitgraph.load_task`.
    """
    beside = setup.beside
    name = setup.model if beside is None else loading.find_model(setup.model, beside)
    model = loading.load_model(name, **setup.loading)
    task = load_task(setup.task, model, seed=setup.seed, **setup.task_settings)
    return Workbench(model, task, setup, bar)


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
