"""Relevance patching (RelP; Rezaei Jafari et al. 2025) of edges."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from jaxtyping import Float

from circuitgraph.discovery.base import algorithm
from circuitgraph.discovery.points import EVALUATIONS_PER_GRADIENT, WITHOUT_GRADIENT
from circuitgraph.discovery.scoring import Scoring, check_gradient, check_not_flat
from circuitgraph.engine.ablation import Ablation
from circuitgraph.engine.experiment import Experiment
from circuitgraph.graph.graph import Graph
from circuitgraph.tasks.metrics import Metric


@algorithm("relp")
@dataclass(frozen=True)
class Relp(Scoring):
    """EAP with the gradient replaced by relevance rules: norms divide by constants, activations
    multiply by constants

    The constant of an activation is ``activation(h) / h``. A gated product passes half of its
    gradient on, and attention patterns are constants. This last rule leaves nothing to the edges
    into q and k: their scores are zero. The authors score whole components, for which that matters
    less; for edges it says that a circuit found so explains what heads move, not where they look. A
    soft cap of the logits keeps its gradient.

    Attributes:
        fixed_patterns: False keeps the gradient of attention patterns, and so scores of q and k; a
            variant of ours.
    """

    score: ClassVar[str] = (
        "estimate by relevance rules of what removing the edge adds to the mean loss"
    )
    fixed_patterns: bool = True

    def check_metric(self, metric: Metric, ablation: Ablation) -> None:
        del ablation
        check_gradient(self.name, metric, WITHOUT_GRADIENT)
        check_not_flat(
            self.name, metric, "Use 'eap-ig-inputs' or 'clean-corrupted', or another metric."
        )

    def count_parts(self, graph: Graph) -> int:
        del graph
        return 1

    def score_part(self, experiment: Experiment, i: int) -> Float[np.ndarray, " edges"]:
        del i
        return experiment.attribution.relevance(fixed_patterns=self.fixed_patterns)

    def count_score_evaluations(self, graph: Graph) -> int:
        return EVALUATIONS_PER_GRADIENT * self.count_parts(graph)
