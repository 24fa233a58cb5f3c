"""Edge attribution averaged over points between the corrupted and the clean prompts' embeddings."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import NoReturn

import numpy as np
from jaxtyping import Float

from circuitgraph.discovery.scoring import Scoring, check_gradient, check_not_flat
from circuitgraph.engine.ablation import Ablation
from circuitgraph.engine.experiment import Experiment
from circuitgraph.errors import ArgumentError
from circuitgraph.graph.graph import Graph
from circuitgraph.tasks.metrics import Metric

WITHOUT_GRADIENT = (
    "Use 'exact' or 'acdc', or a metric such as 'logit_difference' or 'log_probability'."
)
# About what one forward and one backward pass cost, with the gradients of every reader, in
# evaluations of a mask.
EVALUATIONS_PER_GRADIENT = 4


def refuse_frozen_errors(name: str) -> NoReturn:
    """Refuse frozen errors for a search whose runs are not the clean one."""
    raise ArgumentError(
        f"Algorithm {name!r} takes gradients in runs between the corrupted and the clean one, "
        "where errors of dictionaries are computed anew: leave frozen errors out, or use 'eap' or "
        "'acdc'."
    )


@dataclass(frozen=True)
class AtPoints(Scoring):
    """``(replacement - clean) . gradient``, averaged over runs from interpolated embeddings.

    The embeddings are interpolated between the corrupted and the clean prompts' own, whatever the
    ablation; ``replacement`` is what the ablation says.
    """

    @abstractmethod
    def list_points(self) -> tuple[float, ...]:
        """Where gradients are taken: 0 is the corrupted embedding, 1 the clean one."""

    def check_metric(self, metric: Metric, ablation: Ablation) -> None:
        del ablation
        check_gradient(self.name, metric, WITHOUT_GRADIENT)
        if set(self.list_points()) == {1.0}:
            check_not_flat(
                self.name, metric, "Use 'eap-ig-inputs' or 'clean-corrupted', or another metric."
            )

    def check_frozen_errors(self) -> None:
        if set(self.list_points()) != {1.0}:
            refuse_frozen_errors(self.name)

    def count_parts(self, graph: Graph) -> int:
        del graph
        return len(self.list_points())

    def score_part(self, experiment: Experiment, i: int) -> Float[np.ndarray, " edges"]:
        points = self.list_points()
        return experiment.attribution.at_interpolated_embedding(points[i]) / len(points)

    def count_score_evaluations(self, graph: Graph) -> int:
        return EVALUATIONS_PER_GRADIENT * self.count_parts(graph)
