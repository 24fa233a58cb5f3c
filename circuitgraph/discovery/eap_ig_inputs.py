"""EAP with integrated gradients over the inputs (Hanna et al. 2024)."""

from __future__ import annotations

from dataclasses import dataclass

from circuitgraph.discovery.base import MOST_STEPS, algorithm
from circuitgraph.discovery.points import AtPoints
from circuitgraph.errors import check_between


@algorithm("eap-ig-inputs")
@dataclass(frozen=True)
class EapIgInputs(AtPoints):
    """Gradients averaged along the straight line from the corrupted to the clean embedding.

    As in the authors' package the points are ``k / steps`` of the way, k = 0 ... steps - 1: the
    corrupted point is one of them, the clean one is not.

    Attributes:
        steps: number of points.
    """

    steps: int = 5

    def __post_init__(self) -> None:
        super().__post_init__()
        check_between("steps", self.steps, 1, MOST_STEPS)

    def list_points(self) -> tuple[float, ...]:
        return tuple(k / self.steps for k in range(self.steps))
