"""ACDC: walk the graph from the output backwards, remove each edge whose removal costs less than a threshold.

Conmy et al. (2023), Algorithm 1, exactly as their reference implementation decides, batched
by speculation: row i of a batch assumes that the edges before it were all removed, and rows count up to the
first edge that is kept. The decisions are those of the sequential search.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float, Int

from circuitgraph.discovery.base import Algorithm, algorithm
from circuitgraph.engine.experiment import Experiment
from circuitgraph.errors import ArgumentError, check_finite, unknown_name
from circuitgraph.graph.circuit import Circuit
from circuitgraph.graph.graph import INPUTS, Graph
from circuitgraph.graph.reach import live_edges

HEAD_ORDERS = ("descending", "ascending")

# A decision nearer to the threshold than this share of the loss's size (about eight roundings of float32) could fall
# otherwise on another machine.
NOISE = 1e-6


@dataclass(frozen=True)
class AcdcState:
    """What an unfinished search knows.

    Attributes:
        order: all edges in the order in which they are decided, cut into groups whose liveness is settled
            before the group begins.
        group, place: the next group, and how many of its edges are decided.
        mask: edges not removed so far.
        loss: mean loss of ``mask``.
        effects: loss added by removing each edge when it was tested; zero where it was not.
        tested: edges tested so far.
        scale: size of the loss at each test, by which rounding is judged.
        width: number of edges to ask about in the next step.
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


@algorithm("acdc")
@dataclass(frozen=True)
class Acdc(Algorithm[AcdcState]):
    """Greedy removal of edges from the output backwards (Conmy et al. 2023).

    Attributes:
        threshold: an edge goes if removing it adds less than this to the mean loss; strictly less, so that at
            zero an edge without any effect stays. Unit: that of the metric.
        absolute: compare the size of the change, so that edges which hurt the behaviour stay too. By default
            the sign counts and every removal that lowers the loss is accepted.
        direct: the reference's own convention, with one more edge for each q, k and v of each head.
        heads: order of a layer's heads among the writers of one reader. The paper has the highest index first;
            the reference's class has the lowest first by default, its command line the highest.
    """

    threshold: float = 0.1
    absolute: bool = False
    direct: bool = False
    heads: str = "descending"

    def __post_init__(self) -> None:
        check_finite("threshold", self.threshold)
        if self.absolute and self.threshold < 0:
            raise ArgumentError(
                f"threshold is {self.threshold}, but with the absolute test it must not be negative: "
                "no change is smaller than that, so nothing could be removed."
            )
        if self.heads not in HEAD_ORDERS:
            raise unknown_name("order of heads", self.heads, HEAD_ORDERS)

    def init(self, experiment: Experiment) -> AcdcState:
        graph, mask = experiment.graph, np.ones(experiment.graph.n_edges, bool)
        loss = float(experiment.losses(mask[None])[0])
        order = tuple(removal_order(graph, self.heads))
        nothing = np.zeros(graph.n_edges)
        return AcdcState(order, 0, 0, mask, loss, nothing, nothing.astype(bool), nothing, width=4)

    def step(self, experiment: Experiment, state: AcdcState) -> AcdcState:
        rest = state.order[state.group][state.place :]
        live = live_edges(experiment.graph, state.mask)[rest]
        if not live.any():
            mask = state.mask.copy()
            mask[rest] = False
            return replace(state, mask=mask, group=state.group + 1, place=0)
        return self._decide(experiment, state, rest, live)

    def _decide(
        self,
        experiment: Experiment,
        state: AcdcState,
        rest: Int[np.ndarray, " rest"],
        live: Bool[np.ndarray, " rest"],
    ) -> AcdcState:
        """Ask about the next live edges of the group; dead ones among them go untested."""
        asked = np.flatnonzero(live)[: state.width]
        dead = rest[~live]
        mask, effects, tested, scale = (a.copy() for a in (state.mask, state.effects, state.tested, state.scale))
        mask[dead] = False  # carries nothing to the output, so that it cannot matter when it goes
        losses = experiment.removal_losses(mask, rest[asked])
        deltas = np.diff(losses, prepend=state.loss)
        removed = (np.abs(deltas) if self.absolute else deltas) < self.threshold
        n_removed = len(removed) if removed.all() else int(np.argmin(removed))
        decided = asked[: n_removed + 1]  # all of them, or up to and including the first that is kept
        effects[rest[decided]] = deltas[: len(decided)]
        tested[rest[decided]] = True
        scale[rest[decided]] = np.abs(losses[: len(decided)])
        mask[rest[asked[:n_removed]]] = False
        place = state.place + int(decided[-1]) + 1
        ended = place == len(state.order[state.group])
        return replace(
            state,
            group=state.group + ended,
            place=0 if ended else place,
            mask=mask,
            loss=float(losses[n_removed - 1]) if n_removed else state.loss,
            effects=effects,
            tested=tested,
            scale=scale,
            width=_next_width(n_removed, len(asked), state.width, experiment.plan.masks),
        )

    def progress(self, state: AcdcState) -> tuple[int, int]:
        sizes = [len(group) for group in state.order]
        return sum(sizes[: state.group]) + state.place, sum(sizes)

    def circuit(self, experiment: Experiment, state: AcdcState) -> Circuit:
        return Circuit(experiment.graph, state.mask, state.effects, state.tested)

    def close_calls(self, experiment: Experiment, state: AcdcState) -> list[str]:
        size = np.abs(state.effects) if self.absolute else state.effects
        close = state.tested & (np.abs(size - self.threshold) <= NOISE * np.maximum(1.0, state.scale))
        return [experiment.graph.edges[i] for i in np.flatnonzero(close)]

    def evaluations(self, graph: Graph) -> int:
        return graph.n_edges


def _next_width(n_removed: int, n_asked: int, width: int, most: int) -> int:
    """Wider while every guess ("removed") comes true, otherwise about as wide as the last run of true ones."""
    if n_removed == n_asked:
        return min(most, max(width, 2 * n_asked))
    return max(1, min(most, 2 * n_removed))


def removal_order(graph: Graph, heads: str) -> list[Int[np.ndarray, " _"]]:
    """All edges in ACDC's order, in groups: logits; then from the last layer its MLP, its direct edges, q/k/v.

    Readers of a layer go v, k, q and within each from the highest head to the lowest. Writers of a reader go
    from the last layer to the first, an MLP before the heads of its layer, the embedding last. Whether a group's
    edges are dead depends on earlier groups only.
    """
    dst, src = graph.ends
    sign = -1 if heads == "descending" else 1
    groups: dict[tuple[int, int], list[tuple[tuple[int, ...], int]]] = {}
    for edge in range(graph.n_edges):
        reader = graph.readers[dst[edge]]
        if reader.kind in INPUTS:
            rank = 2 if src[edge] >= 0 else 1
            key = (-INPUTS.index(reader.kind), -reader.head)
        else:
            rank, key = 0, (0, 0)
        if src[edge] >= 0:
            writer = graph.writers[src[edge]]
            key = (*key, -writer.layer, writer.kind == "head", sign * writer.head)
        groups.setdefault((-reader.layer, rank), []).append((key, edge))
    return [np.array([edge for _, edge in sorted(groups[g])]) for g in sorted(groups)]
