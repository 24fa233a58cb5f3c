"""Information flow routes (Ferrando and Voita 2024)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from jaxtyping import Float

from circuitgraph.discovery.base import algorithm
from circuitgraph.discovery.scoring import Scoring
from circuitgraph.engine.experiment import Experiment
from circuitgraph.graph.graph import Graph


@algorithm("information-flow")
@dataclass(frozen=True)
class InformationFlow(Scoring):
    """An edge's score is the share that its writer has in what its reader reads on the clean
    prompts.

    The share follows the L1 proximity ``max(0, |x|_1 - |x - w|_1)`` of the writer's value w to the
    reader's input x, over the sum for all writers that the reader sees; its mean is taken over
    positions, then over prompts. Scores lie between 0 and 1 and are the same for q, k and v of all
    heads of a layer. Neither the metric nor the ablation, nor the corrupted prompts, play a part.
    Settings are those of `Scoring`, but the selection is greedy by default: a share compares the
    writers of one reader, and the authors trace their routes from the output too.
    """

    score: ClassVar[str] = "share of the writer in what the reader reads, from 0 to 1"
    selection: str = "greedy"

    def count_parts(self, graph: Graph) -> int:
        del graph
        return 1

    def score_part(self, experiment: Experiment, i: int) -> Float[np.ndarray, " edges"]:
        del i
        return experiment.attribution.flow()

    def count_score_evaluations(self, graph: Graph) -> int:
        return self.count_parts(graph)
