"""Gradient interaction modifications (GIM; Edin et al. 2025) of edges."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from jaxtyping import Float

from circuitgraph.discovery.base import algorithm
from circuitgraph.discovery.learned_masks import check_positive
from circuitgraph.discovery.points import EVALUATIONS_PER_GRADIENT, WITHOUT_GRADIENT
from circuitgraph.discovery.scoring import Scoring, check_gradient, check_not_flat
from circuitgraph.engine.ablation import Ablation
from circuitgraph.engine.experiment import Experiment
from circuitgraph.graph.graph import Graph
from circuitgraph.tasks.metrics import Metric


@algorithm("gim")
@dataclass(frozen=True)
class Gim(Scoring):
    """EAP with the gradient of a softer softmax, constant norms and shared-out products.

    Attention patterns have the derivative of a softmax at a higher temperature, which is less
    saturated where a head looks at one place. Norms divide by constants. Of the gradient of a
    product each factor gets half: values and patterns a half, queries and keys a quarter, gate and
    input of an MLP a half. Formulas and numbers are those of the authors' package (corticph/gim),
    whose users run EAP on the gradients, as here, at the clean run; softmaxes of routers, which
    the package softens too, keep their derivative.

    Attributes:
        temperature: of the softmax's derivative; at 1 it is the softmax's own.
    """

    score: ClassVar[str] = (
        "estimate by modified gradients of what removing the edge adds to the mean loss"
    )
    temperature: float = 2.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive("temperature", self.temperature)

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
        return experiment.attribution.interactions(self.temperature)

    def count_score_evaluations(self, graph: Graph) -> int:
        return EVALUATIONS_PER_GRADIENT * self.count_parts(graph)
