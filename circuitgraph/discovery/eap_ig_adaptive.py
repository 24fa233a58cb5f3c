"""EAP with integrated gradients over the inputs, at points chosen where the loss changes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from circuitgraph.discovery.base import MOST_STEPS, algorithm
from circuitgraph.discovery.points import (
    EVALUATIONS_PER_GRADIENT,
    WITHOUT_GRADIENT,
    refuse_frozen_errors,
)
from circuitgraph.discovery.scoring import Scoring, check_gradient
from circuitgraph.engine.ablation import Ablation
from circuitgraph.engine.experiment import Experiment
from circuitgraph.errors import check_between
from circuitgraph.graph.graph import Graph
from circuitgraph.tasks.metrics import Metric


@algorithm("eap-ig-adaptive")
@dataclass(frozen=True)
class EapIgAdaptive(Scoring):
    """Gradients integrated from the corrupted to the clean embedding, at points that each prompt
    chooses where its loss changes.

    The line of `eap-ig-inputs` is cut ``steps - 1`` times, each time through the middle of the
    piece over which the prompt's loss changes most, and the gradient at the middle of each piece
    counts by the piece's length: adaptive quadrature, a method of our own. It chooses where on the
    straight line gradients are taken; EAP-GP (Zhang et al. 2025), which leaves the line, is another
    method.

    Attributes:
        steps: number of points.
    """

    steps: int = 8

    def __post_init__(self) -> None:
        super().__post_init__()
        check_between("steps", self.steps, 1, MOST_STEPS)

    def check_metric(self, metric: Metric, ablation: Ablation) -> None:
        del ablation
        check_gradient(self.name, metric, WITHOUT_GRADIENT)

    def check_frozen_errors(self) -> None:
        refuse_frozen_errors(self.name)

    def count_parts(self, graph: Graph) -> int:
        del graph
        return 1

    def score_part(self, experiment: Experiment, i: int) -> Float[np.ndarray, " edges"]:
        del i
        return experiment.attribution.at_chosen_points(self.steps)

    def count_score_evaluations(self, graph: Graph) -> int:
        del graph
        return EVALUATIONS_PER_GRADIENT * self.steps + self.steps + 1
