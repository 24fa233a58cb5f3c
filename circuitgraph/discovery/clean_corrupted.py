"""EAP with the gradients of two runs (Hanna et al. 2024; in the MIB benchmark)."""

from __future__ import annotations

from dataclasses import dataclass

from circuitgraph.discovery.base import algorithm
from circuitgraph.discovery.points import AtPoints


@algorithm("clean-corrupted")
@dataclass(frozen=True)
class CleanCorrupted(AtPoints):
    """The mean of the gradients on the clean and on the corrupted prompts. Settings are those of
    `Scoring`.
    """

    def list_points(self) -> tuple[float, ...]:
        return (1.0, 0.0)
