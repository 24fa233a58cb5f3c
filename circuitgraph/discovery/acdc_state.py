"""What an unfinished ACDC search knows and measures, and how a journal keeps its decisions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float, Int

from circuitgraph.discovery.journal import Entry
from circuitgraph.errors import DataError
from circuitgraph.graph.graph import Graph


@dataclass(frozen=True)
class AcdcState:
    """What an unfinished search knows.

    Attributes:
        order: all edges in the order in which they are decided, cut into groups. Which edges of a
            group are dead is known before the group begins.
        group, n_decided: the number of the next group, and how many of its edges are decided.
        mask: edges not removed so far.
        loss: mean loss of ``mask``.
        effects: loss added by removing each edge when it was tested; zero where it was not.
        tested: edges tested so far.
        scale: size of the loss at each test, by which rounding is judged.
        n_candidates: number of candidates of the next step.
        expected: the effect of each candidate that was measured under a wrong guess; NaN of all
            other edges.
    """

    order: tuple[Int[np.ndarray, " _"], ...]
    group: int
    n_decided: int
    mask: Bool[np.ndarray, " edges"]
    loss: float
    effects: Float[np.ndarray, " edges"]
    tested: Bool[np.ndarray, " edges"]
    scale: Float[np.ndarray, " edges"]
    n_candidates: int
    expected: Float[np.ndarray, " edges"]


@dataclass(frozen=True)
class Measurement:
    """The losses of the next candidates of a group.

    Attributes:
        rest: the group's edges that are not decided.
        mask: the state's mask, less the edges of ``rest`` that are dead.
        candidates: where in ``rest`` the measured edges are; none if all of ``rest`` is dead.
        guesses: which candidates were guessed to go.
        loss_before: mean loss of ``mask``; measured together with ``losses`` at a reader's first
            candidate.
        losses: mean loss after removing each candidate, and those before it that were guessed to
            go.
        candidate_counts: how many candidates a step should have at the least and at the most.
    """

    rest: Int[np.ndarray, " rest"]
    mask: Bool[np.ndarray, " edges"]
    candidates: Int[np.ndarray, " n"]
    guesses: Bool[np.ndarray, " n"]
    loss_before: float
    losses: Float[np.ndarray, " n"]
    candidate_counts: tuple[int, int]

    @property
    def effects(self) -> Float[np.ndarray, " n"]:
        """What removing each candidate added to the loss, if all guesses before it are right."""
        # last[i]: the last candidate up to i that was guessed to go; -1 where there is none.
        last = np.maximum.accumulate(np.where(self.guesses, np.arange(len(self.guesses)), -1))
        # Candidate i starts from the loss after last[i - 1]. Index -1, that of the first candidate
        # and wherever none went before, is the appended loss of the mask itself.
        starts = np.append(self.losses, self.loss_before)[np.append(-1, last[:-1])]
        return self.losses - starts


def list_decisions(graph: Graph, before: AcdcState, after: AcdcState) -> list[Entry]:
    """An entry for each edge that a step decided; the last also says how the search goes on.

    A step in which every edge was dead already makes one entry without an edge.
    """
    new = (after.tested & ~before.tested) | (before.mask & ~after.mask)
    edges = [int(edge) for edge in before.order[before.group] if new[edge]]
    entries: list[Entry] = [
        {
            "edge": graph.edges[edge],
            "effect": float(after.effects[edge]) if after.tested[edge] else None,
            "size": float(after.scale[edge]),
            "kept": bool(after.mask[edge]),
        }
        for edge in edges
    ] or [{}]
    measured_in_vain = np.flatnonzero(~np.isnan(after.expected)).tolist()
    then = {
        "group": after.group,
        "place": after.n_decided,
        "loss": after.loss,
        "width": after.n_candidates,
        "expected": {graph.edges[edge]: float(after.expected[edge]) for edge in measured_in_vain},
    }
    return [*entries[:-1], {**entries[-1], "then": then}]


def replay_decisions(graph: Graph, start: AcdcState, entries: Sequence[Entry]) -> AcdcState:
    """The state after the last whole step of some entries.

    Raises:
        DataError: the entries are not those of an ACDC search in this graph.
    """
    ends = [i for i, entry in enumerate(entries) if "then" in entry]
    if not ends:
        return start
    whole = entries[: ends[-1] + 1]
    mask, effects = start.mask.copy(), start.effects.copy()
    tested, scale = start.tested.copy(), start.scale.copy()
    expected = np.full(len(mask), np.nan)
    try:
        for entry in whole:
            if "edge" not in entry:
                continue
            edge, effect = graph.edge_index(entry["edge"]), entry["effect"]
            mask[edge], tested[edge], scale[edge] = entry["kept"], effect is not None, entry["size"]
            effects[edge] = 0.0 if effect is None else effect
        then = whole[-1]["then"]
        for name, effect in then["expected"].items():
            expected[graph.edge_index(name)] = effect
        return replace(
            start,
            group=int(then["group"]),
            n_decided=int(then["place"]),
            mask=mask,
            loss=float(then["loss"]),
            effects=effects,
            tested=tested,
            scale=scale,
            n_candidates=int(then["width"]),
            expected=expected,
        )
    except (AttributeError, KeyError, TypeError, ValueError, LookupError) as error:
        raise DataError(
            f"The journal's entries are not those of an ACDC search: {error!r}"
        ) from error
