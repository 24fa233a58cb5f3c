"""ACDC: walk back from the output and remove each edge whose removal costs less than a threshold.

Conmy et al. (2023), Algorithm 1, exactly as their reference implementation decides, but batched by
speculation: row i of a batch assumes guesses about the edges before it, and rows count up to the
first wrong guess. So the decisions are those of the sequential search. An edge is guessed to go,
unless a row that did not count said otherwise: an effect measured in a slightly wrong circuit
seldom changes sides in the right one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
from jaxtyping import Bool, Float, Int

from circuitgraph.discovery.acdc_state import (
    AcdcState,
    Measurement,
    find_disagreement,
    list_decisions,
    replay_decisions,
)
from circuitgraph.discovery.base import NOISES, Algorithm, Entry, algorithm
from circuitgraph.discovery.sizing import choose_threshold
from circuitgraph.engine.experiment import Experiment
from circuitgraph.errors import ArgumentError, DataError, check_finite, unknown_name
from circuitgraph.graph.circuit import Circuit
from circuitgraph.graph.graph import Graph
from circuitgraph.graph.node import ATTENTION_INPUTS
from circuitgraph.graph.reach import find_live_edges

HEAD_ORDERS = ("descending", "ascending")
_FIRST_CANDIDATES = 4  # of the first step; later steps follow `_count_next_candidates`


@algorithm("acdc")
@dataclass(frozen=True)
class Acdc(Algorithm[AcdcState]):
    """Greedy removal of edges from the output backwards (Conmy et al. 2023).

    Attributes:
        threshold: an edge goes if removing it adds less than this to the mean loss; strictly less,
            so that at zero an edge without any effect stays. Unit: that of the metric. By default
            0.2 % of what lies between the whole model and nothing on the search's prompts.
        absolute: compare the size of the change, so that edges which hold the answer back stay too
            and the circuit does what the model does. If false, the sign counts as in the reference:
            every removal that lowers the loss is accepted. ``docs/defaults.md`` compares the two.
        direct: the reference's own convention, with one more edge for each q, k and v of each head.
        heads: order of a layer's heads among the writers of one reader. The paper has the highest
            index first; the reference's class has the lowest first by default, its command line the
            highest.
    """

    takes_space: ClassVar[bool] = True
    has_start: ClassVar[bool] = True
    threshold: float | None = None
    absolute: bool = True
    direct: bool = False
    heads: str = "descending"

    def __post_init__(self) -> None:
        if self.threshold is not None:
            check_finite("threshold", self.threshold)
        if self.absolute and self.threshold is not None and self.threshold < 0:
            raise ArgumentError(
                f"threshold is {self.threshold}, but with the absolute test it must not be "
                "negative: no change is smaller than that, so nothing could be removed. Negative "
                "thresholds are for the signed test (--signed, absolute=False)."
            )
        if self.heads not in HEAD_ORDERS:
            raise unknown_name("order of heads", self.heads, HEAD_ORDERS)

    @property
    def limit(self) -> float:
        """The threshold, once it is settled."""
        if self.threshold is None:
            raise ValueError("settle_settings chooses the threshold before a search begins")
        return self.threshold

    def settle_settings(self, experiment: Experiment) -> Acdc:
        if self.threshold is not None:
            return self
        return replace(self, threshold=choose_threshold(experiment))

    def init_state(
        self, experiment: Experiment, start: Bool[np.ndarray, " edges"] | None = None
    ) -> AcdcState:
        """The state before the first step.

        Args:
            start: edges to decide on; the others are removed untested. All edges of the search
                space's start if None.
        """
        graph = experiment.graph
        space = experiment.space
        mask = space.start.copy() if start is None else space.confine(start & space.start)
        return AcdcState(
            order=tuple(order_removals(graph, self.heads)),
            group=0,
            n_decided=0,
            mask=mask,
            loss=float(experiment.losses(mask[None])[0]),
            effects=np.zeros(graph.n_edges),
            tested=np.zeros(graph.n_edges, bool),
            scale=np.zeros(graph.n_edges),
            n_candidates=_FIRST_CANDIDATES,
            expected=np.full(graph.n_edges, np.nan),
        )

    def take_step(self, experiment: Experiment, state: AcdcState) -> AcdcState:
        return self.decide_edges(state, self.measure_candidates(experiment, state))

    def measure_candidates(self, experiment: Experiment, state: AcdcState) -> Measurement:
        """Measure the next live edges of one reader.

        Searches at other thresholds can decide by the same measurement: they would guess otherwise,
        but the measurement says which guesses it assumed.
        """
        group = state.order[state.group]
        rest = group[state.n_decided :]
        protected = experiment.space.protected
        live = (find_live_edges(experiment.graph, state.mask) & state.mask & ~protected)[rest]
        # The candidates of a step share their reader: that of the first live edge.
        candidates, reader_of = np.flatnonzero(live), experiment.graph.ends[0]
        shares_reader = reader_of[rest[candidates]] == reader_of[rest[candidates[:1]]]
        candidates = candidates[shares_reader]
        mask = state.mask.copy()
        # Dead edges carry nothing to the output, whenever they go.
        mask[rest[~live & ~protected[rest]]] = False
        if len(candidates):
            most = experiment.count_candidates(mask, int(reader_of[rest[candidates[0]]]))
            candidates = candidates[: min(state.n_candidates, most)]
        else:
            return Measurement(
                rest=rest,
                mask=mask,
                candidates=candidates,
                guesses=np.zeros(0, bool),
                loss_before=state.loss,
                losses=np.zeros(0),
                candidate_counts=experiment.candidate_counts,
            )
        edges, decided = rest[candidates], group[: state.n_decided]
        is_first = not len(decided) or bool(reader_of[decided[-1]] != reader_of[edges[0]])
        expected = state.expected[edges]
        guesses = np.isnan(expected) | self._is_removed(expected)
        losses = experiment.removal_losses(mask, edges, guesses, include_unchanged=is_first)
        return Measurement(
            rest=rest,
            mask=mask,
            candidates=candidates,
            guesses=guesses,
            loss_before=losses[0] if is_first else state.loss,
            losses=losses[is_first:],  # without the first, the loss of the mask itself
            candidate_counts=experiment.candidate_counts,
        )

    def _is_removed(self, effects: Float[np.ndarray, " n"]) -> Bool[np.ndarray, " n"]:
        """The decision rule."""
        return (np.abs(effects) if self.absolute else effects) < self.limit

    def decide_edges(self, state: AcdcState, measured: Measurement) -> AcdcState:
        """The state after all candidates are decided, or those up to the first wrong guess."""
        if not len(measured.candidates):
            return replace(state, mask=measured.mask, group=state.group + 1, n_decided=0)
        edges, effects = measured.rest[measured.candidates], measured.effects
        removed = self._is_removed(effects)
        wrong = removed != measured.guesses
        # The first wrong guess is measured rightly itself: only what comes after it assumed it.
        n = int(np.argmax(wrong)) + 1 if wrong.any() else len(edges)
        gone, decided, undecided = np.flatnonzero(removed[:n]), edges[:n], edges[n:]
        new = replace(
            state,
            mask=measured.mask.copy(),
            effects=state.effects.copy(),
            tested=state.tested.copy(),
            scale=state.scale.copy(),
            expected=state.expected.copy(),
        )
        new.mask[edges[gone]] = False
        new.effects[decided], new.tested[decided] = effects[:n], True
        new.scale[decided] = np.abs(measured.losses[:n])
        new.expected[decided], new.expected[undecided] = np.nan, effects[n:]
        n_decided = state.n_decided + int(measured.candidates[n - 1]) + 1
        is_over = n_decided == len(state.order[state.group])
        return replace(
            new,
            group=state.group + is_over,
            n_decided=0 if is_over else n_decided,
            loss=float(measured.losses[gone[-1]] if len(gone) else measured.loss_before),
            n_candidates=_count_next_candidates(
                n, len(edges), state.n_candidates, measured.candidate_counts
            ),
        )

    def make_entries(
        self, experiment: Experiment, before: AcdcState, after: AcdcState
    ) -> list[Entry]:
        return list_decisions(experiment.graph, before, after)

    def resume_state(
        self, experiment: Experiment, start: AcdcState, entries: Sequence[Entry]
    ) -> AcdcState:
        state = replay_decisions(experiment.graph, start, entries, experiment.space.protected)
        new = state.tested & ~start.tested
        wrong = new & (self._is_removed(state.effects) == state.mask)
        if wrong.any():
            edge = experiment.graph.edges[int(np.argmax(wrong))]
            raise DataError(
                f"The journal's entries are not those of an ACDC search at {self.limit}: its "
                f"decision on {edge} does not follow from the effect."
            )
        # As many candidates as another machine could hold may be too many for this one.
        most = max(_FIRST_CANDIDATES, experiment.candidate_counts[1])
        return replace(state, n_candidates=min(state.n_candidates, most))

    def check_step(self, experiment: Experiment, before: AcdcState, after: AcdcState) -> str | None:
        measured = self.take_step(experiment, before)
        noise = NOISES * experiment.noise
        return find_disagreement(experiment.graph, before, after, measured, noise)

    def count_progress(self, state: AcdcState) -> tuple[int, int]:
        sizes = [len(group) for group in state.order]
        return sum(sizes[: state.group]) + state.n_decided, sum(sizes)

    def describe_progress(self, state: AcdcState) -> str:
        return f"{int((state.tested & state.mask).sum()):,} kept"

    def make_circuit(self, experiment: Experiment, state: AcdcState) -> Circuit:
        return Circuit(experiment.graph, state.mask, state.effects, state.tested)

    def find_close_calls(self, experiment: Experiment, state: AcdcState) -> list[str]:
        size = np.abs(state.effects) if self.absolute else state.effects
        # A decision nearer to the threshold than that could fall otherwise on another machine.
        noise = experiment.noise * np.maximum(1.0, state.scale)
        close = state.tested & (np.abs(size - self.limit) <= noise)
        return [experiment.graph.edges[i] for i in np.flatnonzero(close)]

    def count_evaluations(self, graph: Graph) -> int:
        return graph.n_edges


def _count_next_candidates(
    n_decided: int, n_measured: int, n_candidates: int, candidate_counts: tuple[int, int]
) -> int:
    """The number of candidates of the next step, after one that decided some of its candidates.

    Twice as many while every guess is right. After a wrong guess the candidates that were measured
    in vain, or twice as many as were decided. A multiple of the least number: fewer cost as much.
    """
    least, most = candidate_counts
    if n_decided == n_measured:
        wished = max(n_candidates, 2 * n_measured)
    else:
        wished = max(2 * n_decided, n_measured - n_decided)
    return max(least, min(most, wished - wished % least))


def order_removals(graph: Graph, heads: str) -> list[Int[np.ndarray, " _"]]:
    """All edges in ACDC's order, in groups.

    First the logits; then from the last layer on its MLP (of one in parts the shared input, then
    the units with inputs of their own, the highest first), its direct edges, its q/k/v. Readers of
    a layer go v, k, q and within each from the highest head to the lowest. Writers of a reader go
    from the last layer to the first, an MLP before the heads of its layer, the embedding last; the
    parts of a split MLP or head as the heads, the rest of it first or last.
    Whether a group's edges are dead depends on earlier groups only.
    """
    dst, src = graph.ends
    sign = -1 if heads == "descending" else 1
    groups: dict[tuple[bool, int, int], list[tuple[tuple[int, ...], int]]] = {}
    for edge in range(graph.n_edges):
        reader = graph.readers[dst[edge]]
        if reader.is_attention:
            rank = 2 if src[edge] >= 0 else 1  # direct edges have no writer: -1
            key = (-ATTENTION_INPUTS.index(reader.input), -reader.node.index)
        else:
            rank, key = 0, (0, -int(dst[edge]))
        if src[edge] >= 0:
            writer = graph.writers[src[edge]].node
            key = (*key, -writer.layer, writer.whole.kind == "head", sign * int(src[edge]))
        group = (reader.kind != "logits", -reader.node.layer, rank)
        groups.setdefault(group, []).append((key, edge))
    return [np.array([edge for _, edge in sorted(groups[g])]) for g in sorted(groups)]
