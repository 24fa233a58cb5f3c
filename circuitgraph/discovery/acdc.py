"""ACDC: walk the graph from the output backwards, remove each edge whose removal costs less than a
threshold.

Conmy et al. (2023), Algorithm 1, exactly as their reference implementation decides, batched by
speculation: row i of a batch assumes guesses about the edges before it, and rows count up to the
first wrong guess. The decisions are those of the sequential search. An edge is guessed to go,
unless a row that did not count said otherwise: edges measured in a slightly wrong circuit seldom
change sides in the right one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float, Int

from circuitgraph.discovery.base import Algorithm, Entry, algorithm
from circuitgraph.engine.experiment import Experiment
from circuitgraph.errors import ArgumentError, DataError, check_finite, unknown_name
from circuitgraph.graph.circuit import Circuit
from circuitgraph.graph.graph import Graph
from circuitgraph.graph.node import ATTENTION_INPUTS
from circuitgraph.graph.reach import live_edges

HEAD_ORDERS = ("descending", "ascending")

# A decision nearer to the threshold than this share of the loss's size (about eight roundings of
# float32) could fall otherwise on another machine.
NOISE = 1e-6


@dataclass(frozen=True)
class AcdcState:
    """What an unfinished search knows.

    Attributes:
        order: all edges in the order in which they are decided, cut into groups whose liveness is
            settled before the group begins.
        group, place: the next group, and how many of its edges are decided.
        mask: edges not removed so far.
        loss: mean loss of ``mask``.
        effects: loss added by removing each edge when it was tested; zero where it was not.
        tested: edges tested so far.
        scale: size of the loss at each test, by which rounding is judged.
        width: number of edges to ask about in the next step.
        expected: of edges that were asked about in vain, the effect then; NaN of all others.
    """

    order: tuple[Int[np.ndarray, " _"], ...]
    group: int
    place: int
    mask: Bool[np.ndarray, " edges"]
    loss: float
    effects: Float[np.ndarray, " edges"]
    tested: Bool[np.ndarray, " edges"]
    scale: Float[np.ndarray, " edges"]
    width: int
    expected: Float[np.ndarray, " edges"]


@dataclass(frozen=True)
class Answer:
    """What the experiment says of the next edges of a group.

    Attributes:
        rest: the group's edges that are not decided.
        mask: the state's, less the edges of ``rest`` that are dead.
        asked: where in ``rest`` the edges are that were asked about; none if all of it is dead.
        going: which of them were guessed to go.
        before: mean loss of ``mask``; found together with ``losses`` where a reader's first edge is
            asked about.
        losses: mean loss after removing each of them, and those before it that were guessed to go.
        widths: how many edges to ask about at the least and at the most.
    """

    rest: Int[np.ndarray, " rest"]
    mask: Bool[np.ndarray, " edges"]
    asked: Int[np.ndarray, " n"]
    going: Bool[np.ndarray, " n"]
    before: float
    losses: Float[np.ndarray, " n"]
    widths: tuple[int, int]

    @property
    def effects(self) -> Float[np.ndarray, " n"]:
        """What removing each edge added to the loss of what was left before it, if the guesses are
        right.
        """
        last = np.maximum.accumulate(np.where(self.going, np.arange(len(self.going)), -1))
        return self.losses - np.append(self.losses, self.before)[np.append(-1, last[:-1])]


@algorithm("acdc")
@dataclass(frozen=True)
class Acdc(Algorithm[AcdcState]):
    """Greedy removal of edges from the output backwards (Conmy et al. 2023).

    Attributes:
        threshold: an edge goes if removing it adds less than this to the mean loss; strictly less,
            so that at zero an edge without any effect stays. Unit: that of the metric.
        absolute: compare the size of the change, so that edges which hurt the behaviour stay too.
            By default the sign counts and every removal that lowers the loss is accepted.
        direct: the reference's own convention, with one more edge for each q, k and v of each head.
        heads: order of a layer's heads among the writers of one reader. The paper has the highest
            index first; the reference's class has the lowest first by default, its command line the
            highest.
    """

    threshold: float = 0.1
    absolute: bool = False
    direct: bool = False
    heads: str = "descending"

    def __post_init__(self) -> None:
        check_finite("threshold", self.threshold)
        if self.absolute and self.threshold < 0:
            raise ArgumentError(
                f"threshold is {self.threshold}, but with the absolute test it must not be "
                "negative: no change is smaller than that, so nothing could be removed."
            )
        if self.heads not in HEAD_ORDERS:
            raise unknown_name("order of heads", self.heads, HEAD_ORDERS)

    def init(
        self, experiment: Experiment, start: Bool[np.ndarray, " edges"] | None = None
    ) -> AcdcState:
        """The state before the first step.

        Args:
            start: edges to decide on; the others are removed untested. All edges if None.
        """
        graph = experiment.graph
        mask = np.ones(graph.n_edges, bool) if start is None else start.copy()
        loss = float(experiment.losses(mask[None])[0])
        order = tuple(removal_order(graph, self.heads))
        nothing = np.zeros(graph.n_edges)
        unknown = np.full(graph.n_edges, np.nan)
        return AcdcState(
            order, 0, 0, mask, loss, nothing, nothing.astype(bool), nothing, 4, unknown
        )

    def step(self, experiment: Experiment, state: AcdcState) -> AcdcState:
        return self.settled(state, self.ask(experiment, state))

    def ask(self, experiment: Experiment, state: AcdcState) -> Answer:
        """Ask about the next live edges of one reader.

        Searches at other thresholds can settle by the answer too: they have other guesses, but it
        says which it took.
        """
        rest = state.order[state.group][state.place :]
        live = (live_edges(experiment.graph, state.mask) & state.mask)[rest]
        asked, reader = np.flatnonzero(live), experiment.graph.ends[0]
        asked = asked[reader[rest[asked]] == reader[rest[asked[:1]]]][: state.width]
        mask = state.mask.copy()
        mask[rest[~live]] = (
            False  # carries nothing to the output, so that it cannot matter when it goes
        )
        if not len(asked):
            return Answer(
                rest,
                mask,
                asked,
                np.zeros(0, bool),
                state.loss,
                np.zeros(0),
                experiment.candidate_counts,
            )
        before = state.order[state.group][: state.place][-1:]
        first = not len(before) or bool(reader[before[0]] != reader[rest[asked[0]]])
        expected = state.expected[rest[asked]]
        going = np.isnan(expected) | self._goes(expected)
        losses = experiment.removal_losses(mask, rest[asked], going, include_unchanged=first)
        return Answer(
            rest,
            mask,
            asked,
            going,
            losses[0] if first else state.loss,
            losses[first:],
            experiment.candidate_counts,
        )

    def _goes(self, effects: Float[np.ndarray, " n"]) -> Bool[np.ndarray, " n"]:
        """The decision rule."""
        return (np.abs(effects) if self.absolute else effects) < self.threshold

    def settled(self, state: AcdcState, answer: Answer) -> AcdcState:
        """The state after deciding what the answer allows: all edges, or up to and including the
        first wrong guess.
        """
        if not len(answer.asked):
            return replace(state, mask=answer.mask, group=state.group + 1, place=0)
        edges, deltas = answer.rest[answer.asked], answer.effects
        goes = self._goes(deltas)
        wrong = goes != answer.going
        n = int(np.argmax(wrong)) + 1 if wrong.any() else len(edges)
        gone, decided = np.flatnonzero(goes[:n]), edges[:n]
        arrays = (answer.mask, state.effects, state.tested, state.scale, state.expected)
        mask, effects, tested, scale, expected = (a.copy() for a in arrays)
        effects[decided], tested[decided], scale[decided] = (
            deltas[:n],
            True,
            np.abs(answer.losses[:n]),
        )
        expected[decided], expected[edges[n:]] = np.nan, deltas[n:]
        mask[edges[gone]] = False
        place = state.place + int(answer.asked[n - 1]) + 1
        ended = place == len(state.order[state.group])
        return replace(
            state,
            group=state.group + ended,
            place=0 if ended else place,
            mask=mask,
            loss=float(answer.losses[gone[-1]] if len(gone) else answer.before),
            effects=effects,
            tested=tested,
            scale=scale,
            width=_next_width(n, len(edges), state.width, answer.widths),
            expected=expected,
        )

    def entries(self, experiment: Experiment, before: AcdcState, after: AcdcState) -> list[Entry]:
        """One for each edge that was decided; the last also says how the search goes on from there."""
        new = (after.tested & ~before.tested) | (before.mask & ~after.mask)
        edges = [int(edge) for edge in before.order[before.group] if new[edge]]
        found: list[Entry] = [
            {
                "edge": experiment.graph.edges[edge],
                "effect": float(after.effects[edge]) if after.tested[edge] else None,
                "size": float(after.scale[edge]),
                "kept": bool(after.mask[edge]),
            }
            for edge in edges
        ] or [{}]
        then = {
            "group": after.group,
            "place": after.place,
            "loss": after.loss,
            "width": after.width,
        }
        waiting = np.flatnonzero(~np.isnan(after.expected)).tolist()
        then["expected"] = {
            experiment.graph.edges[edge]: float(after.expected[edge]) for edge in waiting
        }
        return [*found[:-1], {**found[-1], "then": then}]

    def resumed(
        self, experiment: Experiment, start: AcdcState, entries: Sequence[Entry]
    ) -> AcdcState:
        ends = [i for i, entry in enumerate(entries) if "then" in entry]
        if not ends:
            return start
        whole = entries[: ends[-1] + 1]
        mask, effects, tested, scale = (
            a.copy() for a in (start.mask, start.effects, start.tested, start.scale)
        )
        try:
            for entry in whole:
                if "edge" not in entry:
                    continue
                edge = experiment.graph.edge_index(entry["edge"])
                mask[edge], tested[edge], scale[edge] = (
                    entry["kept"],
                    entry["effect"] is not None,
                    entry["size"],
                )
                effects[edge] = 0.0 if entry["effect"] is None else entry["effect"]
            then = whole[-1]["then"]
            ahead = {
                "group": int(then["group"]),
                "place": int(then["place"]),
                "width": int(then["width"]),
            }
            loss = float(then["loss"])
            expected = np.full(len(mask), np.nan)
            for name, effect in then["expected"].items():
                expected[experiment.graph.edge_index(name)] = effect
        except (AttributeError, KeyError, TypeError, ValueError, LookupError) as error:
            raise DataError(
                f"The journal's entries are not those of an ACDC search: {error!r}"
            ) from error
        return replace(
            start,
            mask=mask,
            effects=effects,
            tested=tested,
            scale=scale,
            loss=loss,
            expected=expected,
            **ahead,
        )

    def progress(self, state: AcdcState) -> tuple[int, int]:
        sizes = [len(group) for group in state.order]
        return sum(sizes[: state.group]) + state.place, sum(sizes)

    def circuit(self, experiment: Experiment, state: AcdcState) -> Circuit:
        return Circuit(experiment.graph, state.mask, state.effects, state.tested)

    def close_calls(self, experiment: Experiment, state: AcdcState) -> list[str]:
        size = np.abs(state.effects) if self.absolute else state.effects
        close = state.tested & (
            np.abs(size - self.threshold) <= NOISE * np.maximum(1.0, state.scale)
        )
        return [experiment.graph.edges[i] for i in np.flatnonzero(close)]

    def evaluations(self, graph: Graph) -> int:
        return graph.n_edges


def _next_width(n: int, n_asked: int, width: int, widths: tuple[int, int]) -> int:
    """Wider while every guess comes true; after a wrong one, what was asked in vain, or twice as
    far as it went.
    """
    least, most = widths
    wished = max(width, 2 * n_asked) if n == n_asked else max(2 * n, n_asked - n)
    return max(least, min(most, wished - wished % least))


def removal_order(graph: Graph, heads: str) -> list[Int[np.ndarray, " _"]]:
    """All edges in ACDC's order, in groups: logits; then from the last layer its MLP, its direct
    edges, q/k/v.

    Readers of a layer go v, k, q and within each from the highest head to the lowest. Writers of a
    reader go from the last layer to the first, an MLP before the heads of its layer, the embedding
    last. Whether a group's edges are dead depends on earlier groups only.
    """
    dst, src = graph.ends
    sign = -1 if heads == "descending" else 1
    groups: dict[tuple[bool, int, int], list[tuple[tuple[int, ...], int]]] = {}
    for edge in range(graph.n_edges):
        reader = graph.readers[dst[edge]]
        if reader.is_attention:
            rank = 2 if src[edge] >= 0 else 1
            key = (-ATTENTION_INPUTS.index(reader.input), -reader.node.index)
        else:
            rank, key = 0, (0, 0)
        if src[edge] >= 0:
            writer = graph.writers[src[edge]].node
            key = (*key, -writer.layer, writer.kind == "head", sign * writer.index)
        groups.setdefault((reader.kind != "logits", -reader.node.layer, rank), []).append(
            (key, edge)
        )
    return [np.array([edge for _, edge in sorted(groups[g])]) for g in sorted(groups)]
