"""Edge attribution patching (Syed et al. 2023)."""

from __future__ import annotations

from dataclasses import dataclass

from circuitgraph.discovery.base import algorithm
from circuitgraph.discovery.points import AtPoints


@algorithm("eap")
@dataclass(frozen=True)
class Eap(AtPoints):
    """Gradients of the clean run: one pass for all edges. The first-order estimate at the whole
    model.

    Settings are those of `Scoring`. Metrics that measure the distance from the whole model (KL)
    have no gradient there and are refused.
    """

    def list_points(self) -> tuple[float, ...]:
        return (1.0,)
