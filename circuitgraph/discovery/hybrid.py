"""A fast score to preselect, the exact search to decide.

As ACDC++ and HAP put a filter by attribution before a slow search: the edges of the lowest scores
go at once, and ACDC decides on the others. The edges that it keeps were tested exactly; an edge
that the score misjudged is lost untested.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, cast

import numpy as np
from jaxtyping import Bool

from circuitgraph.discovery.acdc import Acdc
from circuitgraph.discovery.acdc_state import AcdcState
from circuitgraph.discovery.base import Algorithm, Entry, algorithm, algorithms
from circuitgraph.discovery.scoring import Scoring, ScoringState
from circuitgraph.discovery.sizing import MAX_SIZES, choose_threshold, find_faithful_size
from circuitgraph.engine.ablation import Ablation
from circuitgraph.engine.experiment import Experiment
from circuitgraph.errors import ArgumentError, DataError, check_finite
from circuitgraph.graph.circuit import Circuit
from circuitgraph.graph.graph import Graph
from circuitgraph.tasks.metrics import Metric

STAGES = ("scoring", "exact")
PRESELECTED = 0.99  # faithfulness of the edges to decide on; docs/defaults.md


@dataclass(frozen=True)
class HybridState:
    """The scores so far and, once they are complete, the state of the exact search."""

    scoring: ScoringState
    exact: AcdcState | None


@algorithm("hybrid")
@dataclass(frozen=True)
class Hybrid(Algorithm[HybridState]):
    """ACDC on the edges that a fast score puts on top; the others are removed at once.

    Attributes:
        scores: name of the algorithm that scores, in its default settings. Edges are ranked by
            the size of their score. ``eap`` needs a metric that is not flat at the whole model;
            ``eap-ig-inputs`` takes KL too.
        keep: share of the edges to decide on exactly; at 1 the search is ACDC. By default as many
            of the best as are 99 % faithful on the search's prompts.
        threshold, absolute, heads: ACDC's.
    """

    takes_space: ClassVar[bool] = True
    has_start: ClassVar[bool] = True
    scores: str = "eap"
    keep: float | None = None
    threshold: float | None = None
    absolute: bool = True
    heads: str = "descending"

    def __post_init__(self) -> None:
        if not issubclass(algorithms[self.scores], Scoring):
            able = ", ".join(
                name for name in algorithms.names() if issubclass(algorithms[name], Scoring)
            )
            raise ArgumentError(
                f"scores is {self.scores!r}, but that algorithm gives no scores. Use one of: "
                f"{able}."
            )
        if self.keep is not None and not 0 < check_finite("keep", self.keep) <= 1:
            raise ArgumentError(
                f"keep is {self.keep}, but is a share of the edges: above 0, at most 1."
            )
        _ = self.exact_search  # refuses settings that make no sense

    @property
    def _scoring(self) -> Scoring:
        return cast("Scoring", algorithms[self.scores]())

    @property
    def exact_search(self) -> Acdc:
        """ACDC, on the edges that remain."""
        return Acdc(threshold=self.threshold, absolute=self.absolute, heads=self.heads)

    def check_metric(self, metric: Metric, ablation: Ablation) -> None:
        try:
            self._scoring.check_metric(metric, ablation)
        except ArgumentError as error:
            raise ArgumentError(
                f"Algorithm {self.name!r} with scores={self.scores!r}: {error}"
            ) from error
        self.exact_search.check_metric(metric, ablation)

    def settle_settings(self, experiment: Experiment) -> Hybrid:
        if self.threshold is not None:
            return self
        return replace(self, threshold=choose_threshold(experiment))

    def init_state(self, experiment: Experiment) -> HybridState:
        return HybridState(self._scoring.init_state(experiment), None)

    def take_step(self, experiment: Experiment, state: HybridState) -> HybridState:
        if state.exact is not None:
            return replace(state, exact=self.exact_search.take_step(experiment, state.exact))
        return self._begin_exact(experiment, self._scoring.take_step(experiment, state.scoring))

    def _begin_exact(self, experiment: Experiment, scoring: ScoringState) -> HybridState:
        """The state with these scores; the last part of the scores begins the exact search."""
        done, total = self._scoring.count_progress(scoring)
        if done < total:
            return HybridState(scoring, None)
        return HybridState(
            scoring,
            self.exact_search.init_state(experiment, self._preselect_edges(experiment, scoring)),
        )

    def _preselect_edges(
        self, experiment: Experiment, scoring: ScoringState
    ) -> Bool[np.ndarray, " edges"]:
        """The best of the edges that the search space has to decide on."""
        graph, free = experiment.graph, experiment.space.free & experiment.space.start
        scores, n_free = np.where(free, np.abs(scoring.scores), -np.inf), int(free.sum())

        def make_mask(n: int) -> Bool[np.ndarray, " edges"]:
            return Circuit.top(graph, scores, n, absolute=False).mask

        n = self._count_kept(n_free)
        if self.keep is None:
            n = find_faithful_size(experiment, make_mask, n_free, PRESELECTED) or n
        return make_mask(n)

    def _count_kept(self, n_edges: int) -> int:
        """How many edges to decide on, at most."""
        return n_edges if self.keep is None else max(1, round(self.keep * n_edges))

    def count_progress(self, state: HybridState) -> tuple[int, int]:
        scored, parts = self._scoring.count_progress(state.scoring)
        n_edges = len(state.scoring.scores)
        decided = 0 if state.exact is None else self.exact_search.count_progress(state.exact)[0]
        return scored + decided, parts + n_edges

    def describe_progress(self, state: HybridState) -> str:
        return "" if state.exact is None else self.exact_search.describe_progress(state.exact)

    def make_circuit(self, experiment: Experiment, state: HybridState) -> Circuit:
        return self.exact_search.make_circuit(experiment, _require_exact(state))

    def find_close_calls(self, experiment: Experiment, state: HybridState) -> list[str]:
        return self.exact_search.find_close_calls(experiment, _require_exact(state))

    def make_entries(
        self, experiment: Experiment, before: HybridState, after: HybridState
    ) -> list[Entry]:
        """The entries of the two searches, each under its stage's name."""
        if before.exact is not None:
            entries = self.exact_search.make_entries(
                experiment, before.exact, _require_exact(after)
            )
            return [{"exact": entry} for entry in entries]
        return [
            {"scoring": entry}
            for entry in self._scoring.make_entries(experiment, before.scoring, after.scoring)
        ]

    def resume_state(
        self, experiment: Experiment, start: HybridState, entries: Sequence[Entry]
    ) -> HybridState:
        if any(len(entry) != 1 or next(iter(entry)) not in STAGES for entry in entries):
            raise DataError(f"The journal's entries are not those of a search by {self.name!r}.")
        scored, decided = (
            [entry[stage] for entry in entries if stage in entry] for stage in STAGES
        )
        state = self._begin_exact(
            experiment, self._scoring.resume_state(experiment, start.scoring, scored)
        )
        if not decided:
            return state
        if state.exact is None:
            raise DataError(
                "The journal has decisions of the exact search, but its scores are not complete."
            )
        return replace(
            state, exact=self.exact_search.resume_state(experiment, state.exact, decided)
        )

    def check_step(
        self, experiment: Experiment, before: HybridState, after: HybridState
    ) -> str | None:
        if before.exact is None:
            return self._scoring.check_step(experiment, before.scoring, after.scoring)
        return self.exact_search.check_step(experiment, before.exact, _require_exact(after))

    def count_evaluations(self, graph: Graph) -> int:
        n_sizes = MAX_SIZES if self.keep is None else 0
        n_scoring = self._scoring.count_score_evaluations(graph)
        return self._count_kept(graph.n_edges) + n_scoring + n_sizes


def _require_exact(state: HybridState) -> AcdcState:
    """The state of the exact search, which must have begun."""
    if state.exact is None:
        raise ValueError("the edges are not scored yet")
    return state.exact
