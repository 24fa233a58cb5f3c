"""Several scores' rankings averaged: what one misjudges, the others may set right."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, cast

import numpy as np
from jaxtyping import Float

from circuitgraph.discovery.base import algorithm, algorithms
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
        members: names of algorithms that score, each in its default settings.
    """

    score: ClassVar[str] = (
        "mean over members of the score's rank by size, up to 1, with the score's sign"
    )
    members: tuple[str, ...] = ("eap-ig-inputs", "eap-ig-activations", "clean-corrupted")

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(set(self.members)) != len(self.members) or len(self.members) < 2:
            raise ArgumentError(
                f"members is {', '.join(self.members)!r}, but must name two or more algorithms, "
                "each once."
            )
        for name in self.members:
            if name == self.name or not issubclass(algorithms[name], Scoring):
                raise ArgumentError(
                    f"members names {name!r}, which gives no scores of its own. Use such as 'eap', "
                    "'eap-ig-inputs' or 'exact'."
                )

    @property
    def arguments(self) -> dict[str, Any]:
        return {**super().arguments, "members": list(self.members)}

    @property
    def _searches(self) -> list[Scoring]:
        return [cast("Scoring", algorithms[name]()) for name in self.members]

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
        search = self._searches[i]
        state = search.init_state(experiment)
        while state.done < state.total:
            state = search.take_step(experiment, state)
        return rank_scores(state.scores, experiment.noise) / len(self.members)

    def estimate_noise(self, experiment: Experiment, scores: Float[np.ndarray, " edges"]) -> float:
        """One rank: two nearly equal scores may change places on another machine."""
        del experiment
        return 1 / max(1, len(scores))

    def count_score_evaluations(self, graph: Graph) -> int:
        return sum(search.count_score_evaluations(graph) for search in self._searches)


def rank_scores(scores: Float[np.ndarray, " edges"], noise: float) -> Float[np.ndarray, " edges"]:
    """Ranks by size, up to 1, with the scores' signs; equal ones share the mean of their ranks.

    Args:
        noise: share of the largest size below which a score counts as zero.
    """
    from scipy import stats  # takes a second to import

    sizes = np.abs(scores)
    sizes = np.where(sizes <= noise * sizes.max(initial=0.0), 0.0, sizes)
    ranks = stats.rankdata(sizes, method="average") / max(1, len(scores))
    return np.where(sizes > 0, np.sign(scores) * ranks, 0.0)
