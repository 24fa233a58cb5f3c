"""EAP with integrated gradients over activations (Hanna et al.'s package; in the MIB benchmark)."""

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
from circuitgraph.engine.grid import group_writers
from circuitgraph.errors import check_between
from circuitgraph.graph.graph import Graph
from circuitgraph.tasks.metrics import Metric


@algorithm("eap-ig-activations")
@dataclass(frozen=True)
class EapIgActivations(Scoring):
    """Gradients averaged over clean runs in which one group of writers after the other is
    interpolated.

    The groups are the embedding, each layer's heads together, and each layer's MLP. A group is held
    ``k / steps`` of the way from its replacements to its clean values, k = 1 ... steps; every
    reader's gradient counts in every run, and the sum is divided by all runs. No gradient passes
    through a held group. Under mean and zero ablation the interpolation starts at that ablation's
    replacements; the authors' package starts at zero under both.

    Attributes:
        steps: number of points for each group.
    """

    steps: int = 5

    def __post_init__(self) -> None:
        super().__post_init__()
        check_between("steps", self.steps, 1, MOST_STEPS)

    def check_metric(self, metric: Metric, ablation: Ablation) -> None:
        del ablation
        check_gradient(self.name, metric, WITHOUT_GRADIENT)

    def check_frozen_errors(self) -> None:
        refuse_frozen_errors(self.name)

    def count_parts(self, graph: Graph) -> int:
        return len(group_writers(graph))

    def score_part(self, experiment: Experiment, i: int) -> Float[np.ndarray, " edges"]:
        shares = [k / self.steps for k in range(1, self.steps + 1)]
        group = group_writers(experiment.graph)[i]
        runs = [experiment.attribution.at_interpolated_group(group, share) for share in shares]
        return np.sum(runs, axis=0) / (len(runs) * self.count_parts(experiment.graph))

    def count_score_evaluations(self, graph: Graph) -> int:
        return EVALUATIONS_PER_GRADIENT * self.steps * self.count_parts(graph)
