"""Head importance score for pruning (Michel et al. 2019), as Conmy et al. (2023) use it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
from jaxtyping import Float, Int

from circuitgraph.discovery.base import algorithm
from circuitgraph.discovery.points import EVALUATIONS_PER_GRADIENT, WITHOUT_GRADIENT
from circuitgraph.discovery.scoring import DEFAULT_SHARE, Scoring, check_gradient, check_not_flat
from circuitgraph.engine.ablation import Ablation
from circuitgraph.engine.experiment import Experiment
from circuitgraph.errors import ArgumentError, check_at_least
from circuitgraph.graph.circuit import Circuit
from circuitgraph.graph.graph import Graph
from circuitgraph.graph.selection import select_edges_among
from circuitgraph.graph.space import SearchSpace
from circuitgraph.tasks.metrics import Metric


@algorithm("hisp")
@dataclass(frozen=True)
class Hisp(Scoring):
    """Heads and MLPs are scored, and the circuit is all edges among the best of them.

    A node's importance is ``|(replacement - value) . gradient of the loss at its output|``, the
    mean over the clean prompts; under zero ablation that is Michel et al.'s ``|value . gradient|``.
    An edge's score is the lower importance of its two ends, of which the embedding and the logits
    count as important as the best node; it is never negative and no estimate of the edge's own
    effect.

    Attributes:
        n_nodes: how many heads and MLPs to keep, beside the embedding and the logits.
        faithfulness: keep as few nodes as are so faithful; 0.95 if no size is given.
        share: keep as many nodes as have this share of the edges among them, but one at least.
    """

    score: ClassVar[str] = "the lower importance of the edge's two nodes, in the unit of the metric"
    n_nodes: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.n_nodes is not None:
            check_at_least("n_nodes", self.n_nodes, 0)

    @property
    def sizes(self) -> dict[str, int | float | None]:
        return {"n_nodes": self.n_nodes, **super().sizes}

    def check_metric(self, metric: Metric, ablation: Ablation) -> None:
        del ablation
        check_gradient(self.name, metric, WITHOUT_GRADIENT)
        check_not_flat(
            self.name, metric, "Use another metric, or 'eap-ig-inputs' for scores of edges."
        )

    def count_parts(self, graph: Graph) -> int:
        del graph
        return 1

    def score_part(self, experiment: Experiment, i: int) -> Float[np.ndarray, " edges"]:
        del i
        graph, of_nodes = experiment.graph, experiment.attribution.importances()
        best = of_nodes.max()
        of_writer = np.concatenate([[best], of_nodes])  # the embedding is writer 0
        of_reader = [  # the logits feed no writer
            of_writer[list(reader.feeds)].max() if reader.feeds else best
            for reader in graph.readers
        ]
        dst, src = graph.ends
        return np.minimum(np.array(of_reader)[dst], of_writer[src])

    def count_choices(self, experiment: Experiment) -> int:
        return len(experiment.graph.writers) - 1

    def set_size(self, n: int, space: SearchSpace) -> Scoring:
        return replace(self, faithfulness=None, n_nodes=n)

    def settle_settings(self, experiment: Experiment) -> Hisp:
        self._check_nodes(experiment.graph)
        return self

    def _check_nodes(self, graph: Graph) -> None:
        n_nodes = len(graph.writers) - 1
        if self.n_nodes is not None and self.n_nodes > n_nodes:
            raise ArgumentError(
                f"n_nodes is {self.n_nodes}, but the graph has only {n_nodes} heads and MLPs."
            )

    def select_circuit(
        self,
        graph: Graph,
        scores: Float[np.ndarray, " edges"],
        space: SearchSpace | None = None,
    ) -> Circuit:
        if self.n_edges is not None or self.threshold is not None:
            return super().select_circuit(graph, scores, space)
        space = SearchSpace.whole(graph) if space is None else space
        ranked = 1 + np.argsort(-self._read_importances(graph, scores)[1:], kind="stable")
        self._check_nodes(graph)
        n = self._count_nodes(graph, ranked) if self.n_nodes is None else self.n_nodes
        selected = _select_among_best(graph, ranked, n)
        return Circuit(graph, space.confine(selected.mask), scores)

    def _count_nodes(self, graph: Graph, ranked: Int[np.ndarray, " nodes"]) -> int:
        """As many of the best nodes as have no more than the wished share of the edges."""
        n, most = 1, (DEFAULT_SHARE if self.share is None else self.share) * graph.n_edges
        while n < len(ranked) and len(_select_among_best(graph, ranked, n + 1)) <= most:
            n += 1
        return n

    @staticmethod
    def _read_importances(
        graph: Graph, scores: Float[np.ndarray, " edges"]
    ) -> Float[np.ndarray, " writers"]:
        """The importance of every writer: the score of its edge into the logits."""
        return scores[graph.ends[0] == len(graph.readers) - 1]

    def count_score_evaluations(self, graph: Graph) -> int:
        return EVALUATIONS_PER_GRADIENT * self.count_parts(graph)


def _select_among_best(graph: Graph, ranked: Int[np.ndarray, " nodes"], n: int) -> Circuit:
    """The edges among the ``n`` first of the ranked writers, the embedding and the logits."""
    chosen = np.zeros(len(graph.writers), bool)
    chosen[[0, *ranked[:n]]] = True
    return select_edges_among(graph, chosen)
