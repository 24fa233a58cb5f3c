"""Searches that give every edge a score and then select a circuit."""

from __future__ import annotations

import base64
import binascii
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Bool, Float

from circuitgraph.discovery.base import NOISES, Algorithm
from circuitgraph.discovery.journal_lines import Entry
from circuitgraph.discovery.sizing import MAX_SIZES, find_faithful_size
from circuitgraph.engine.experiment import Experiment
from circuitgraph.errors import (
    ArgumentError,
    DataError,
    SearchError,
    check_at_least,
    check_finite,
    unknown_name,
)
from circuitgraph.graph.circuit import Circuit, compute_strengths
from circuitgraph.graph.graph import Graph
from circuitgraph.graph.selection import select_greedy, select_greedy_above
from circuitgraph.graph.space import SearchSpace
from circuitgraph.tasks.metrics import Metric

SELECTIONS = ("top", "greedy")
DEFAULT_FAITHFULNESS = 0.95  # docs/defaults.md has the measurements
DEFAULT_SHARE = 0.05  # of the graph's edges, where there is nothing to be faithful to


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
        faithfulness: select the smallest circuit of those tried that is so faithful on the search's
            prompts, and by no more above 1: 0.95 accepts 0.95 to 1.05. This is the default, with
            0.95, if no size is given; where the model does no better than nothing it is 5 % of
            the edges.
        n_edges: how many edges to select.
        share: select this share of the graph's edges.
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
    takes_space: ClassVar[bool] = True
    faithfulness: float | None = None
    n_edges: int | None = None
    share: float | None = None
    threshold: float | None = None
    absolute: bool = True
    selection: str = "top"
    prune: bool = True

    def __post_init__(self) -> None:
        self._check_one_size(self.sizes)
        for name in ("faithfulness", "share"):
            value = getattr(self, name)
            if value is not None and not 0 < check_finite(name, value) <= 1:
                raise ArgumentError(f"{name} is {value}, but must be above 0 and at most 1.")
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

    @property
    def sizes(self) -> dict[str, int | float | None]:
        """The settings of which one says how much to select."""
        names = ("faithfulness", "n_edges", "share", "threshold")
        return {name: getattr(self, name) for name in names}

    @property
    def wanted_faithfulness(self) -> float | None:
        """How faithful the circuit shall be; None where its size is given otherwise."""
        if all(size is None for size in self.sizes.values()):
            return DEFAULT_FAITHFULNESS
        return self.faithfulness

    @classmethod
    def complete_arguments(cls, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Searches without a size selected 5 % of the edges before there were other ways."""
        sizes = ("n_edges", "threshold", "n_nodes")
        if "share" in arguments or any(arguments.get(name) is not None for name in sizes):
            return dict(arguments)
        return {**arguments, "share": DEFAULT_SHARE}

    @staticmethod
    def _check_one_size(sizes: Mapping[str, int | float | None]) -> None:
        given = [f"{name}={value}" for name, value in sizes.items() if value is not None]
        if len(given) > 1:
            raise ArgumentError(
                f"{' and '.join(given)} were given, but each of them says how much to select: give "
                "one."
            )

    def check_space(self, space: SearchSpace) -> None:
        super().check_space(space)
        n_allowed = int(space.allowed.sum())
        if self.n_edges is not None and not space.n_protected <= self.n_edges <= n_allowed:
            where = "graph" if space.is_whole else "search space"
            raise ArgumentError(
                f"n_edges is {self.n_edges}, but the {where} has {n_allowed} edges, of which "
                f"{space.n_protected} are protected."
            )

    @abstractmethod
    def count_parts(self, graph: Graph) -> int:
        """How many parts the scores are summed from."""

    @abstractmethod
    def score_part(self, experiment: Experiment, i: int) -> Float[np.ndarray, " edges"]:
        """Part ``i`` of the scores, zero for edges that the part does not concern."""

    def count_evaluations(self, graph: Graph) -> int:
        n_sizes = 0 if self.wanted_faithfulness is None else MAX_SIZES
        return self.count_score_evaluations(graph) + n_sizes

    def count_score_evaluations(self, graph: Graph) -> int:
        """How many evaluations of a mask the scores of this graph's edges cost."""
        return self.count_parts(graph)

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
        scores, space = state.scores, experiment.space
        sized = self.choose_size(experiment, scores)
        selected = sized.select_circuit(experiment.graph, scores, space)
        return replace(
            selected,
            mask=sized.prune_mask(selected, space),
            scores=scores,
            tested=np.ones(len(scores), bool),
            provenance={"n_selected": len(selected)},
        )

    def prune_mask(self, selected: Circuit, space: SearchSpace) -> Bool[np.ndarray, " edges"]:
        """The selected edges, without those on no path (if wished) that are not protected."""
        return space.confine((selected.pruned() if self.prune else selected).mask)

    def choose_size(self, experiment: Experiment, scores: Float[np.ndarray, " edges"]) -> Scoring:
        """This search with the size of the smallest faithful circuit, if that is wanted."""
        wanted = self.wanted_faithfulness
        if wanted is None:
            return self
        graph, space = experiment.graph, experiment.space

        def make_mask(n: int) -> Bool[np.ndarray, " edges"]:
            sized = self.set_size(n, space)
            return sized.prune_mask(sized.select_circuit(graph, scores, space), space)

        n = find_faithful_size(experiment, make_mask, self.count_choices(experiment), wanted)
        return (
            replace(self, faithfulness=None, share=DEFAULT_SHARE)
            if n is None
            else (self.set_size(n, space))
        )

    def count_choices(self, experiment: Experiment) -> int:
        """How many edges (or nodes) there are to choose, beside those that are protected."""
        return int(experiment.space.free.sum())

    def set_size(self, n: int, space: SearchSpace) -> Scoring:
        """This search, selecting this many edges (or nodes) beside those that are protected."""
        return replace(self, faithfulness=None, n_edges=n + space.n_protected)

    def select_circuit(
        self,
        graph: Graph,
        scores: Float[np.ndarray, " edges"],
        space: SearchSpace | None = None,
    ) -> Circuit:
        """The circuit that the settings make of these scores, before pruning.

        Args:
            space: the edges to select among, and those that are selected in any case; the whole
                graph if None.

        Raises:
            ArgumentError: more edges than there are, or fewer than are protected.
        """
        space = SearchSpace.whole(graph) if space is None else space
        strengths = compute_strengths(graph, scores, self.absolute)
        # Protected edges come before all others, and edges that are left out after them.
        strengths = np.where(space.allowed, strengths, -np.inf)
        strengths = np.where(space.protected, np.inf, strengths)
        is_greedy = self.selection == "greedy"
        way: dict[str, Any] = {"absolute": False, **({"free": space.free} if is_greedy else {})}
        if self.threshold is not None:
            select_above = select_greedy_above if is_greedy else Circuit.above
            selected = select_above(graph, strengths, self.threshold, **way)
        else:
            n_edges = self._count_edges(graph, space)
            if is_greedy:
                selected = select_greedy(graph, strengths, n_edges - space.n_protected, **way)
            else:
                selected = Circuit.top(graph, strengths, n_edges, **way)
        return Circuit(graph, space.confine(selected.mask), scores)

    def _count_edges(self, graph: Graph, space: SearchSpace) -> int:
        """How many edges to select, protected ones among them."""
        if self.n_edges is None:
            share = DEFAULT_SHARE if self.share is None else self.share
            n_wished = max(1, round(share * graph.n_edges))
            return min(max(n_wished, space.n_protected), int(space.allowed.sum()))
        self.check_space(space)
        return self.n_edges

    def find_close_calls(self, experiment: Experiment, state: ScoringState) -> list[str]:
        """Edges whose score is nearer than numerical noise to the boundary of the selection.

        No edge is named after a greedy selection of a number of edges, where every edge had a
        boundary of its own, nor where the size was chosen by what circuits of each size do.
        """
        if self.selection == "greedy" and self.threshold is None:
            return []
        if self.wanted_faithfulness is not None:
            return []
        noise = self.estimate_noise(experiment, state.scores)
        size = np.abs(state.scores) if self.absolute else state.scores
        free = experiment.space.free
        selected = self.select_circuit(experiment.graph, state.scores, experiment.space).mask
        chosen, rest = selected & free, ~selected & free
        if self.threshold is not None:
            close = np.abs(size - self.threshold) <= noise
        elif not rest.any() or not chosen.any():
            return []
        else:
            weakest, strongest = size[chosen].min(), size[rest].max()
            close = np.where(selected, size - strongest <= noise, weakest - size <= noise)
        close &= free
        return [experiment.graph.edges[i] for i in np.flatnonzero(close)]

    def estimate_noise(self, experiment: Experiment, scores: Float[np.ndarray, " edges"]) -> float:
        """By how much a score may differ on another machine."""
        return experiment.noise * float(np.abs(scores).max(initial=0.0))

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
        scores = np.frombuffer(packed[: len(packed) // 8 * 8], "<f8").astype(np.float64)
        if not np.isfinite(scores).all():
            raise DataError("The journal holds scores that are not finite: it is another search's.")
        if not 0 < done <= start.total or len(packed) != 8 * n_edges:
            raise DataError(
                f"The journal says that {done} parts of {start.total} are done and holds "
                f"{len(packed) // 8} scores, but the graph has {n_edges} edges: it is another "
                "search's."
            )
        return replace(start, done=done, scores=scores)

    def check_step(
        self, experiment: Experiment, before: ScoringState, after: ScoringState
    ) -> str | None:
        then, now = after.scores, self.take_step(experiment, before).scores
        apart = np.abs(then - now)
        if apart.max(initial=0.0) <= NOISES * self.estimate_noise(experiment, now):
            return None
        edge = int(np.argmax(apart))
        return f"the score of {experiment.graph.edges[edge]} is {then[edge]}, and {now[edge]} now"


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
