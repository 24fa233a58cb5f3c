"""Searches that give every edge a score and then select a circuit."""

from __future__ import annotations

import base64
import binascii
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
from jaxtyping import Float

from circuitgraph.discovery.base import Algorithm
from circuitgraph.discovery.journal import Entry
from circuitgraph.engine.experiment import Experiment
from circuitgraph.errors import (
    ArgumentError,
    DataError,
    SearchError,
    check_at_least,
    check_finite,
    unknown_name,
)
from circuitgraph.graph.circuit import Circuit
from circuitgraph.graph.graph import Graph
from circuitgraph.graph.selection import select_greedy, select_greedy_above
from circuitgraph.tasks.metrics import Metric

SELECTIONS = ("top", "greedy")
DEFAULT_SHARE = 0.05  # of the graph's edges

# A score nearer to the boundary than this share of the largest one (about eight roundings of
# float32) could fall on the other side on another machine.
NOISE = 1e-6


@dataclass(frozen=True)
class ScoringState:
    """Scores so far: the sum of the ``done`` first of ``total`` parts."""

    done: int
    total: int
    scores: Float[np.ndarray, " edges"]


@dataclass(frozen=True)
class Scoring(Algorithm[ScoringState]):
    """A search that scores all edges first.

    Scores say, where an algorithm does not state otherwise, by how much the mean loss rises when
    the edge is removed: positive means that removing the edge hurts.

    Attributes:
        n_edges: how many edges to select; 5 % of the graph's if neither this nor ``threshold`` is
            given.
        threshold: select the edges whose (absolute) score is at least this.
        absolute: rank by the size of a score, so that edges which hurt the behaviour are selected
            too.
        selection: ``top`` takes the strongest edges wherever they are, ``greedy`` one after the
            other the strongest into a node that is connected to the logits.
        prune: drop the edges that lie on no path from the embedding to the logits; the circuit can
            then be smaller than ``n_edges``. Under resampling this changes nothing that the circuit
            computes.
    """

    unit: ClassVar[str] = "part"
    score: ClassVar[str] = "first-order estimate of what removing the edge adds to the mean loss"
    n_edges: int | None = None
    threshold: float | None = None
    absolute: bool = True
    selection: str = "top"
    prune: bool = True

    def __post_init__(self) -> None:
        self._check_one_size({"n_edges": self.n_edges, "threshold": self.threshold})
        if self.n_edges is not None:
            check_at_least("n_edges", self.n_edges, 0)
        if self.threshold is not None:
            check_finite("threshold", self.threshold)
            if self.absolute and self.threshold < 0:
                raise ArgumentError(
                    f"threshold is {self.threshold}, but absolute scores are never negative, so "
                    "that every edge would be selected. Use a threshold of at least 0, or "
                    "absolute=False."
                )
        if self.selection not in SELECTIONS:
            raise unknown_name("selection", self.selection, SELECTIONS)

    @staticmethod
    def _check_one_size(sizes: Mapping[str, int | float | None]) -> None:
        given = [f"{name}={value}" for name, value in sizes.items() if value is not None]
        if len(given) > 1:
            raise ArgumentError(
                f"{' and '.join(given)} were given, but each of them says how much to select: give "
                "one."
            )

    @abstractmethod
    def count_parts(self, graph: Graph) -> int:
        """How many parts the scores are summed from."""

    @abstractmethod
    def score_part(self, experiment: Experiment, i: int) -> Float[np.ndarray, " edges"]:
        """Part ``i`` of the scores, zero for edges that the part does not concern."""

    def init_state(self, experiment: Experiment) -> ScoringState:
        return ScoringState(
            0, self.count_parts(experiment.graph), np.zeros(experiment.graph.n_edges)
        )

    def take_step(self, experiment: Experiment, state: ScoringState) -> ScoringState:
        scores = self.score_part(experiment, state.done)
        if not np.isfinite(scores).all():
            edge = int(np.argmin(np.isfinite(scores)))
            raise SearchError(
                f"The score of {experiment.graph.edges[edge]} is {scores[edge]}. Use another "
                "metric or ablation, or look for extreme weights in the model."
            )
        return replace(state, done=state.done + 1, scores=state.scores + scores)

    def count_progress(self, state: ScoringState) -> tuple[int, int]:
        return state.done, state.total

    def make_circuit(self, experiment: Experiment, state: ScoringState) -> Circuit:
        selected = self.select_circuit(experiment.graph, state.scores)
        pruned = selected.pruned() if self.prune else selected
        return replace(pruned, scores=state.scores, tested=np.ones(len(state.scores), bool))

    def select_circuit(self, graph: Graph, scores: Float[np.ndarray, " edges"]) -> Circuit:
        """The circuit that the settings make of these scores, before pruning.

        Raises:
            ArgumentError: more edges than the graph has.
        """
        is_greedy = self.selection == "greedy"
        if self.threshold is not None:
            select_above = select_greedy_above if is_greedy else Circuit.above
            return select_above(graph, scores, self.threshold, absolute=self.absolute)
        n_edges = self.n_edges
        if n_edges is None:
            n_edges = max(1, round(DEFAULT_SHARE * graph.n_edges))
        select_number = select_greedy if is_greedy else Circuit.top
        return select_number(graph, scores, n_edges, absolute=self.absolute)

    def find_close_calls(self, experiment: Experiment, state: ScoringState) -> list[str]:
        """Edges whose score is nearer than numerical noise to the boundary of the selection.

        No edge is named after a greedy selection of a number of edges: there every edge had a
        boundary of its own.
        """
        if self.selection == "greedy" and self.threshold is None:
            return []
        noise = self.estimate_noise(experiment, state.scores)
        size = np.abs(state.scores) if self.absolute else state.scores
        selected = self.select_circuit(experiment.graph, state.scores).mask
        if self.threshold is not None:
            close = np.abs(size - self.threshold) <= noise
        elif selected.all() or not selected.any():
            return []
        else:
            weakest, strongest = size[selected].min(), size[~selected].max()
            close = np.where(selected, size - strongest <= noise, weakest - size <= noise)
        return [experiment.graph.edges[i] for i in np.flatnonzero(close)]

    def estimate_noise(self, experiment: Experiment, scores: Float[np.ndarray, " edges"]) -> float:
        """By how much a score may differ on another machine."""
        del experiment
        return NOISE * float(np.abs(scores).max(initial=0.0))

    def make_entries(
        self, experiment: Experiment, before: ScoringState, after: ScoringState
    ) -> list[Entry]:
        """One entry: the number of parts done, and the scores so far (base64, little-endian f8)."""
        del experiment, before
        packed = base64.b64encode(after.scores.astype("<f8").tobytes()).decode("ascii")
        return [{"parts": after.done, "scores": packed}]

    def resume_state(
        self, experiment: Experiment, start: ScoringState, entries: Sequence[Entry]
    ) -> ScoringState:
        if not entries:
            return start
        try:
            done = int(entries[-1]["parts"])
            packed = base64.b64decode(entries[-1]["scores"], validate=True)
        except (KeyError, TypeError, ValueError, binascii.Error) as error:
            raise DataError(
                f"The journal's last entry holds no scores of {self.name!r}: {error}."
            ) from error
        n_edges = experiment.graph.n_edges
        if not 0 < done <= start.total or len(packed) != 8 * n_edges:
            raise DataError(
                f"The journal says that {done} parts of {start.total} are done and holds "
                f"{len(packed) // 8} scores, but the graph has {n_edges} edges: it is another "
                "search's."
            )
        return replace(start, done=done, scores=np.frombuffer(packed, "<f8").astype(np.float64))


def check_gradient(name: str, metric: Metric, instead: str) -> None:
    """Refuse a metric without gradient for the algorithm ``name``; ``instead`` says what to use."""
    if not metric.differentiable:
        raise ArgumentError(
            f"Algorithm {name!r} cannot work with metric {metric.name!r}: it follows the metric's "
            f"gradient, and that of {metric.name!r} is zero, because it moves in jumps only. "
            f"{instead}"
        )


def check_not_flat(name: str, metric: Metric, instead: str) -> None:
    """Refuse a metric whose gradient is zero at the whole model, where an algorithm takes it."""
    if metric.flat_at_full:
        raise ArgumentError(
            f"Algorithm {name!r} cannot work with metric {metric.name!r}: it takes the gradient at "
            f"the whole model alone, where {metric.name!r} has its minimum, so that every score "
            f"would be zero. {instead}"
        )
