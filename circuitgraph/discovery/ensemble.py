"""Several scores' rankings averaged: what one misjudges, the others may set right."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float

from circuitgraph.discovery.base import algorithm
from circuitgraph.discovery.ranks import check_scoring, make_scoring, rank_scores, score_edges
from circuitgraph.discovery.scoring import Scoring
from circuitgraph.engine.ablation import Ablation
from circuitgraph.engine.experiment import Experiment
from circuitgraph.errors import ArgumentError
from circuitgraph.graph.graph import Graph
from circuitgraph.tasks.metrics import Metric


@algorithm("ensemble")
@dataclass(frozen=True)
class Ensemble(Scoring):
    """The average of the ranks that several algorithms give each edge.

    A member's scores are ranked by their size, up to 1 for the largest (equal scores
    share the mean of their ranks), and each rank gets the sign of its score. Scores within
    rounding of zero count as zero. The ensemble's score is the mean over its members.

    Attributes:
        members: names of algorithms that score, each in its default settings. ``gim`` needs a
            metric that is not flat at the whole model.
    """

    score: ClassVar[str] = (
        "mean over members of the score's rank by size, up to 1, with the score's sign"
    )
    members: tuple[str, ...] = ("eap-ig-inputs", "eap-ig-activations", "gim")

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(set(self.members)) != len(self.members) or len(self.members) < 2:
            raise ArgumentError(
                f"members is {', '.join(self.members)!r}, but must name two or more algorithms, "
                "each once."
            )
        for name in self.members:
            check_scoring("members", name)
        if self.name in self.members:
            raise ArgumentError(f"members names {self.name!r} itself: name what it is made of.")

    @property
    def arguments(self) -> dict[str, Any]:
        return {**super().arguments, "members": list(self.members)}

    @property
    def _searches(self) -> list[Scoring]:
        return [make_scoring(name) for name in self.members]

    def check_metric(self, metric: Metric, ablation: Ablation) -> None:
        for search in self._searches:
            try:
                search.check_metric(metric, ablation)
            except ArgumentError as error:
                raise ArgumentError(f"Algorithm {self.name!r}: {error}") from error

    def check_frozen_errors(self) -> None:
        for search in self._searches:
            search.check_frozen_errors()

    def count_parts(self, graph: Graph) -> int:
        del graph
        return len(self.members)

    def score_part(self, experiment: Experiment, i: int) -> Float[np.ndarray, " edges"]:
        """The ranks that member ``i`` gives, over the number of members."""
        scores = score_edges(self._searches[i], experiment)
        return rank_scores(scores, experiment.noise) / len(self.members)

    def estimate_noise(self, experiment: Experiment, scores: Float[np.ndarray, " edges"]) -> float:
        """One rank: two nearly equal scores may change places on another machine."""
        del experiment
        return 1 / max(1, len(scores))

    def count_score_evaluations(self, graph: Graph) -> int:
        return sum(search.count_score_evaluations(graph) for search in self._searches)
