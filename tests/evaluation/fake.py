"""Experiments without a model: the value of a mask is a formula, so that every measure has a known
answer.
"""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np

from circuitgraph.engine.experiment import Experiment
from circuitgraph.graph.graph import Graph
from circuitgraph.tasks.metrics import metrics


class Formula(Experiment):
    """Values are ``formula(masks)``, an array of masks by prompts; what was asked is counted."""

    def __init__(
        self, graph: Graph, n_prompts: int, formula: Callable[[np.ndarray], np.ndarray]
    ) -> None:
        self.graph, self.n_prompts, self._formula = graph, n_prompts, formula
        self.metric = metrics["logit_difference"]
        self.sizes: Any = SimpleNamespace(masks=7)  # not a divisor of anything asked
        self.asked: list[int] = []
        self._wants_frontier = False

    def values(self, masks: np.ndarray) -> np.ndarray:
        assert masks.dtype == bool
        assert masks.shape[1] == self.graph.n_edges
        self.asked.append(len(masks))
        found = self._formula(masks)
        assert found.shape == (len(masks), self.n_prompts)
        return found.astype(np.float32)


def linear(graph: Graph, weights: np.ndarray, base: float = 0.0) -> Formula:
    """Each edge adds its weight; ``weights`` are edges by prompts."""
    return Formula(graph, weights.shape[1], lambda masks: base + masks.astype(float) @ weights)


def weights_of(graph: Graph, weights: dict[str, float], n_prompts: int = 6) -> np.ndarray:
    """The same weights for every prompt; zero for edges that are not named."""
    found = np.zeros((graph.n_edges, n_prompts))
    for edge, weight in weights.items():
        found[graph.edge_index(edge)] = weight
    return found


def having(graph: Graph, masks: np.ndarray, *edges: str) -> np.ndarray:
    """Which masks keep all of these edges."""
    return np.all(masks[:, [graph.edge_index(edge) for edge in edges]], axis=1, keepdims=True)[:, 0]
