"""Exact edge patching: what removing each edge alone from the whole model costs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
from jaxtyping import Float, Int

from circuitgraph.discovery.base import algorithm
from circuitgraph.discovery.journal_lines import Entry
from circuitgraph.discovery.scoring import Scoring, ScoringState
from circuitgraph.engine.experiment import Experiment, NotFiniteError
from circuitgraph.errors import DataError, SearchError
from circuitgraph.graph.graph import Graph


@algorithm("exact")
@dataclass(frozen=True)
class Exact(Scoring):
    """An edge's score is the mean loss of the whole model without it, minus that of the whole
    model.

    One evaluation for each edge: the measure that attribution estimates. Works with every metric
    and ablation. Settings are those of `Scoring`. A part is all edges into one reader.
    """

    unit: ClassVar[str] = "reader"
    score: ClassVar[str] = "what removing the edge alone from the whole model adds to the mean loss"

    def count_parts(self, graph: Graph) -> int:
        return len(graph.readers)

    def score_part(self, experiment: Experiment, i: int) -> Float[np.ndarray, " edges"]:
        edges = _find_edges_into(experiment.graph, i)
        effects = np.zeros(experiment.graph.n_edges)
        effects[edges] = _measure_effects(experiment, edges)
        return effects

    def estimate_noise(self, experiment: Experiment, scores: Float[np.ndarray, " edges"]) -> float:
        """A score is a difference of two losses, each rounded."""
        full = float(experiment.losses(np.ones((1, experiment.graph.n_edges), bool))[0])
        return experiment.noise * max(1.0, abs(full), float(np.abs(scores).max(initial=0.0)))

    def make_entries(
        self, experiment: Experiment, before: ScoringState, after: ScoringState
    ) -> list[Entry]:
        """One entry for each edge into the readers of this step."""
        graph = experiment.graph
        done = (_find_edges_into(graph, i).tolist() for i in range(before.done, after.done))
        return [
            {"edge": graph.edges[e], "effect": float(after.scores[e])}
            for edges in done
            for e in edges
        ]

    def resume_state(
        self, experiment: Experiment, start: ScoringState, entries: Sequence[Entry]
    ) -> ScoringState:
        """The readers whose edges are all in the journal are done; others are measured again."""
        graph, scores = experiment.graph, start.scores.copy()
        in_journal = np.zeros(graph.n_edges, bool)
        numbers = {name: number for number, name in enumerate(graph.edges)}
        for entry in entries:
            name, effect = entry.get("edge"), entry.get("effect")
            is_number = isinstance(effect, int | float) and not isinstance(effect, bool)
            if not isinstance(name, str) or name not in numbers or not is_number:
                raise DataError(
                    f"The journal's entry {entry} is no effect of an edge of this graph."
                )
            in_journal[numbers[name]] = True
            scores[numbers[name]] = effect
        done = 0
        while done < start.total and in_journal[_find_edges_into(graph, done)].all():
            done += 1
        scores[graph.ends[0] >= done] = 0.0
        return replace(start, done=done, scores=scores)

    def count_score_evaluations(self, graph: Graph) -> int:
        return graph.n_edges


def _find_edges_into(graph: Graph, reader: int) -> Int[np.ndarray, " _"]:
    return np.flatnonzero(graph.ends[0] == reader)


def _measure_effects(
    experiment: Experiment, edges: Int[np.ndarray, " n"]
) -> Float[np.ndarray, " n"]:
    """What removing each of these edges, all into one reader, adds to the whole model's loss."""
    # Row 0 is the whole model, row i + 1 the model without edge i: [1 + n, edges].
    rows = np.ones((1 + len(edges), experiment.graph.n_edges), bool)
    rows[np.arange(1, len(rows)), edges] = False
    try:
        losses = experiment.reader_losses(rows, int(experiment.graph.ends[0][edges[0]]))
    except NotFiniteError as error:
        what = "The whole model"
        if error.row:
            what = f"Removing {experiment.graph.edges[edges[error.row - 1]]}"
        raise SearchError(f"{what}: {error}") from error
    return losses[1:] - losses[0]
