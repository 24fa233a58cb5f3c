"""One circuit for each mechanism: whether other edges matter on some prompts than on others."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from circuitgraph.analysis.base import analysis
from circuitgraph.analysis.probe_fits import check_probes
from circuitgraph.analysis.prompt_clusters import (
    ALPHA,
    LEAST_PROMPTS,
    ClusterComparison,
    PromptClusters,
    cluster_prompts,
    compare_clusters,
)
from circuitgraph.catalog.analysis_record import Cell, Reading, TableRecord
from circuitgraph.engine.experiment import Experiment
from circuitgraph.errors import ArgumentError, check_at_least, check_between
from circuitgraph.evaluation.baselines import Baselines
from circuitgraph.graph.circuit import Circuit
from circuitgraph.models.language_model import LanguageModel
from circuitgraph.progress import show_progress
from circuitgraph.tasks.base import Task
from circuitgraph.tasks.prompts import Prompts

_N_EXAMPLES, _N_EDGES = 3, 8


@dataclass(frozen=True)
class Mechanisms:
    """How many mechanisms there are, and the circuit of each cluster of prompts.

    Attributes:
        n: 1 unless the prompts form clusters beyond chance whose circuits differ beyond chance.
        clusters: of the prompts, in the best partition, whether or not it is beyond chance.
        comparison: of the clusters' circuits; None where there is one cluster.
        circuits: one for each cluster, with the cluster's mean effects as scores.
    """

    n: int
    clusters: PromptClusters
    comparison: ClusterComparison | None
    circuits: tuple[Circuit, ...]


def find_mechanisms(
    experiment: Experiment,
    *,
    most: int = 5,
    share: float = 0.01,
    n_null: int = 49,
    seed: int = 0,
    bar: bool = False,
) -> Mechanisms:
    """Cluster the prompts of an experiment by the exact effect of each edge on each prompt.

    Args:
        most: the largest number of clusters that is tried.
        share: an edge is in a cluster's circuit if removing it alone from the whole model moves the
            cluster's mean metric by this share of what lies between the whole model and nothing.
        n_null: data sets of one cluster, beside which the prompts' clusters are judged.
        seed: of clusters, null data and shuffled labels.
        bar: show progress over the edges.

    Raises:
        ArgumentError: too few prompts for two clusters, or values that make no sense.
        MissingExtraError: scikit-learn is not installed.
    """
    check_probes("Clusters of prompts")
    check_between("most", most, 2, 20)
    check_at_least("n_null", n_null, 19)
    if not 0 < share < 1:
        raise ArgumentError(f"share is {share}, but must be above 0 and below 1.")
    if experiment.n_prompts < 2 * LEAST_PROMPTS:
        raise ArgumentError(
            f"There are {experiment.n_prompts} prompts, but two clusters need at least "
            f"{2 * LEAST_PROMPTS}: give more."
        )
    effects, ends = measure_prompt_effects(experiment, bar=bar), Baselines.of(experiment)
    gaps = (ends.full - ends.empty).astype(np.float64)
    clusters = cluster_prompts(effects, most=most, n_null=n_null, seed=seed)
    kinds = np.unique(clusters.labels)
    comparison = None
    if len(kinds) > 1:
        comparison = compare_clusters(effects, gaps, clusters.labels, share, seed)
    several = clusters.are_several and comparison is not None and comparison.p <= ALPHA
    circuits = []
    for label in kinds:
        own = clusters.labels == label
        scores = effects[own].mean(axis=0)
        limit = share * abs(float(gaps[own].mean()))
        circuits.append(Circuit.above(experiment.graph, scores, limit))
    return Mechanisms(len(kinds) if several else 1, clusters, comparison, tuple(circuits))


def measure_prompt_effects(
    experiment: Experiment, *, bar: bool = False
) -> Float[np.ndarray, "prompts edges"]:
    """What the metric of each prompt loses when each edge alone is removed from the whole model."""
    graph = experiment.graph
    effects = np.zeros((experiment.n_prompts, graph.n_edges))
    with show_progress(graph.n_edges, "edges", "edge", bar=bar) as progress:
        for reader in range(len(graph.readers)):
            edges = np.flatnonzero(graph.ends[0] == reader)
            rows = np.ones((1 + len(edges), graph.n_edges), bool)
            rows[np.arange(1, len(rows)), edges] = False
            values = experiment.reader_values(rows, reader).astype(np.float64)
            effects[:, edges] = (values[0] - values[1:]).T
            progress.advance(len(edges))
    return effects


@analysis(
    "mechanisms",
    source="this project; clusters by silhouette beside one Gaussian cluster, as in Liu et al. "
    "2008 (SigClust)",
    cannot_tell="that one mechanism is one algorithm: prompts may differ in what the same edges "
    "carry. Clusters and the comparison of circuits use the same effects, so that the latter is "
    "asked only where the former passes.",
)
def read_mechanisms(
    model: LanguageModel,
    task: Task,
    prompts: Prompts,
    *,
    metric: str | None = None,
    ablation: str = "resample",
    most: int = 5,
    share: float = 0.01,
    n_null: int = 49,
    seed: int = 0,
    bar: bool = False,
) -> Reading:
    """Whether the prompts of a task are answered by one circuit or by several, which are named.

    Args:
        metric, ablation: what an edge's effect is measured by; the task's metric by default.
        most, share, n_null, seed: as of `find_mechanisms`.

    Raises:
        ArgumentError: too few prompts, or values that make no sense.
    """
    experiment = Experiment(model, prompts, metric=metric or task.metric, ablation=ablation)
    result = find_mechanisms(experiment, most=most, share=share, n_null=n_null, seed=seed, bar=bar)
    tables = [_describe_tests(result)]
    if len(result.circuits) > 1:
        tables.append(_describe_clusters(result, prompts))
    plural = "s" * (result.n > 1)
    return Reading(
        tables=tables,
        notes=[
            f"{result.n} mechanism{plural}: {_explain_verdict(result)}",
            "Clusters are of the pattern of a prompt's effects, whatever their size.",
        ],
    )


def _explain_verdict(result: Mechanisms) -> str:
    if result.comparison is None:
        return f"no partition has {LEAST_PROMPTS} prompts or more in each cluster."
    if not result.clusters.are_several:
        return "one cluster would look as clustered as these prompts do."
    if result.n == 1:
        return "there are clusters, but their circuits differ no more than by chance."
    return "there are clusters beyond chance, and their circuits differ beyond chance."


def _describe_tests(result: Mechanisms) -> TableRecord:
    rows: list[list[Cell]] = []
    clusters, comparison = result.clusters, result.comparison
    for n, silhouette in clusters.silhouettes.items():
        rows.append([f"silhouette of {n} clusters", silhouette, None, None])
    if clusters.chance is not None:
        top = max(clusters.silhouettes.values())
        rows.append(["the highest, beside one cluster", top, clusters.chance, clusters.p])
    if comparison is not None:
        what = "overlap of circuits, beside random groups"
        rows.append([what, comparison.overlap, comparison.chance, comparison.p])
    return TableRecord(
        title="Clusters of prompts by exact edge effects, with 95 % of what chance gives",
        columns=["", "value", "by chance", "p"],
        rows=rows,
    )


def _describe_clusters(result: Mechanisms, prompts: Prompts) -> TableRecord:
    """Each cluster: its prompts, the size of its circuit, and the edges that it alone has."""
    rows: list[list[Cell]] = []
    for label, circuit in enumerate(result.circuits):
        members = np.flatnonzero(result.clusters.labels == label)
        examples = " | ".join(prompts.pairs[i].clean for i in members[:_N_EXAMPLES])
        others = np.any([c.mask for i, c in enumerate(result.circuits) if i != label], axis=0)
        own = np.flatnonzero(circuit.mask & ~others)
        assert circuit.scores is not None  # noqa: S101 - they were selected by them
        own = own[np.argsort(-np.abs(circuit.scores[own]))][:_N_EDGES]
        names = ", ".join(circuit.graph.edges[i] for i in own)
        rows.append([label + 1, len(members), len(circuit), names, examples])
    return TableRecord(
        title="Clusters: edges that one alone has, the strongest first, and some of its prompts",
        columns=["cluster", "prompts", "edges", "edges of its own", "such as"],
        rows=rows,
    )
