"""What an unfinished ACDC search knows and measures, and how a journal keeps its decisions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float, Int

from circuitgraph.discovery.journal_lines import Entry
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


def replay_decisions(
    graph: Graph, start: AcdcState, entries: Sequence[Entry], protected: Bool[np.ndarray, " edges"]
) -> AcdcState:
    """The state after the last whole step of some entries.

    Args:
        protected: edges on which nothing is decided.

    Raises:
        DataError: the entries are not those of an ACDC search in this graph.
    """
    ends = [i for i, entry in enumerate(entries) if "then" in entry]
    if not ends:
        return start
    whole = entries[: ends[-1] + 1]
    mask, effects = start.mask.copy(), start.effects.copy()
    tested, scale = start.tested.copy(), start.scale.copy()
    named = np.zeros(len(mask), bool)
    expected = np.full(len(mask), np.nan)
    try:
        for entry in whole:
            if "edge" not in entry:
                continue
            edge, effect = graph.edge_index(entry["edge"]), entry["effect"]
            if named[edge] or not isinstance(entry["kept"], bool):
                raise ValueError(f"{entry['edge']} is decided twice, or neither kept nor removed")
            mask[edge], tested[edge] = entry["kept"], effect is not None
            scale[edge] = _read_number(entry["size"])
            effects[edge] = 0.0 if effect is None else _read_number(effect)
            named[edge] = True
        then = whole[-1]["then"]
        for name, effect in then["expected"].items():
            expected[graph.edge_index(name)] = _read_number(effect)
        state = replace(
            start,
            group=_read_count(then["group"]),
            n_decided=_read_count(then["place"]),
            mask=mask,
            loss=_read_number(then["loss"]),
            effects=effects,
            tested=tested,
            scale=scale,
            n_candidates=_read_count(then["width"]),
            expected=expected,
        )
        _check_place(start, state, named, protected)
    except (AttributeError, KeyError, TypeError, ValueError, LookupError) as error:
        raise DataError(
            f"The journal's entries are not those of an ACDC search: {error!r}"
        ) from error
    return state


def _read_number(value: object) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise ValueError(f"{value!r} is no number")
    return float(value)


def _read_count(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ValueError(f"{value!r} is no count")
    return value


def _check_place(
    start: AcdcState,
    state: AcdcState,
    named: Bool[np.ndarray, " edges"],
    protected: Bool[np.ndarray, " edges"],
) -> None:
    """Refuse a place that does not follow from the edges that are decided.

    Args:
        named: edges decided since ``start``.
    """
    sizes = [len(group) for group in state.order]
    place, group = state.n_decided, state.group
    if group > len(sizes) or place >= (sizes[group] if group < len(sizes) else 1):
        raise ValueError(f"there is no place {place} in group {group}")
    if not state.n_candidates:
        raise ValueError("a step has no candidates")
    order = np.concatenate(state.order)
    begin, end = (sum(sizes[: s.group]) + s.n_decided for s in (start, state))
    # Dead edges go before their turn, but with the group that they are in.
    last = sum(sizes[: group + 1]) if place else end
    due, early = order[begin:end], order[end:last]
    open_before = start.mask & ~protected
    outside = np.ones(len(named), bool)
    outside[order[begin:last]] = False
    if end < begin or (named & (outside | ~open_before)).any():
        raise ValueError("an edge is decided before its turn")
    if not named[due][open_before[due]].all():
        raise ValueError("an edge is left out")
    if (state.tested[early] & named[early]).any() or (state.mask & ~state.tested & named).any():
        raise ValueError("an edge that is dead was tested or kept")


def find_disagreement(
    graph: Graph, before: AcdcState, recorded: AcdcState, measured: AcdcState, noise: float
) -> str | None:
    """In what a step that a journal holds differs from the same step as it is measured now.

    Args:
        noise: the share of a loss's size by which two measurements may lie apart.
    """
    group = before.order[before.group]
    for edge in group[recorded.tested[group] & ~before.tested[group]]:
        if not measured.tested[edge]:
            break  # fewer candidates at a time than then
        then, now = recorded.effects[edge], measured.effects[edge]
        if abs(then - now) > noise * max(1.0, measured.scale[edge]):
            return f"the effect of {graph.edges[edge]} is {then}, and {now} now"
        if recorded.mask[edge] != measured.mask[edge]:
            return None  # a close call: what comes after it may differ
    wrong = before.mask & ~measured.mask & ~measured.tested & recorded.mask
    if wrong.any():
        return f"{graph.edges[int(np.argmax(wrong))]} is kept, but leads nowhere"
    is_same = recorded.group == measured.group and np.array_equal(recorded.mask, measured.mask)
    if is_same and abs(recorded.loss - measured.loss) > noise * max(1.0, abs(measured.loss)):
        return f"the loss is {recorded.loss}, and {measured.loss} now"
    return None
