"""Experiments without a model, whose best masks are known: the loss is linear in the mask."""

from __future__ import annotations

import numpy as np

from circuitgraph.engine.ablation import ablations
from circuitgraph.engine.experiment import Experiment
from circuitgraph.graph.graph import Graph
from circuitgraph.graph.space import SearchSpace
from circuitgraph.tasks.metrics import metrics


class Linear(Experiment):
    """The loss falls by ``worth`` of an edge as its mask goes from 0 to 1."""

    def __init__(self, worth: np.ndarray, graph: Graph) -> None:
        self.graph, self.worth = graph, worth
        self.space = SearchSpace.whole(graph)
        self.metric, self.ablation, self.reference_sha256 = (
            metrics["kl"],
            ablations["resample"],
            None,
        )

    def loss_and_gradient(self, mask: np.ndarray) -> tuple[float, np.ndarray]:
        return float(self.worth @ (1 - mask)), -self.worth


def with_worthy_edges(n: int, worth: float) -> Linear:
    """A small graph in which ``n`` edges are worth something and the others nothing."""
    graph = Graph(2, 2)
    values = np.zeros(graph.n_edges)
    values[np.random.default_rng(3).choice(graph.n_edges, n, replace=False)] = worth
    return Linear(values, graph)
