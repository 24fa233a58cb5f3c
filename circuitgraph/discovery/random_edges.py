"""Random scores: what any other search has to beat."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from jaxtyping import Float

from circuitgraph.discovery.base import algorithm
from circuitgraph.discovery.scoring import Scoring
from circuitgraph.engine.experiment import Experiment
from circuitgraph.errors import check_at_least
from circuitgraph.graph.graph import Graph


@algorithm("random")
@dataclass(frozen=True)
class RandomEdges(Scoring):
    """Scores drawn uniformly between 0 and 1, whatever the model does.

    Attributes:
        seed: of the draw.
    """

    score: ClassVar[str] = "drawn uniformly between 0 and 1"
    seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_at_least("seed", self.seed, 0)

    def count_parts(self, graph: Graph) -> int:
        del graph
        return 1

    def score_part(self, experiment: Experiment, i: int) -> Float[np.ndarray, " edges"]:
        del i
        return np.random.default_rng(self.seed).random(experiment.graph.n_edges)

    def count_score_evaluations(self, graph: Graph) -> int:
        del graph
        return 0
