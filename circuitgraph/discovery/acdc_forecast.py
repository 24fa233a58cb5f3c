"""The rest of an ACDC search: steps get costlier as the circuit grows, and later ones are tried.

Which edges will be kept is not known. Attribution says which may. If these are, the operations of
every tested edge are counted, without running any; steps that are tried, at places spread over the
edges that are left, say how long an operation takes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.optimize import nnls

from circuitgraph.discovery.acdc import Acdc
from circuitgraph.discovery.acdc_state import AcdcState
from circuitgraph.engine.experiment import Experiment
from circuitgraph.graph.reach import find_live_edges

TimeCall = Callable[..., tuple[Any, float]]

# Where later steps are tried, as shares of the edges left: in an order in which any number of the
# first of them are spread.
_PLACES = (0.5, 0.9, 0.25, 0.7, 0.1, 0.4, 0.97, 0.8, 0.6, 0.02)
_FEWEST_PLACES = 4
_SAMPLE_SECONDS = 45.0  # of steps; after the fewest places no other one is begun beyond it
# Steps and seconds at each place, at the most, after a step that brings all values up to date.
_STEPS = 6
_PLACE_SECONDS = 3.0
_FACTOR = 1.5  # by which the threshold of the range's ends differs
_MOST_COUNTED = 150  # readers whose tested edges' operations are counted; the others are as these


@dataclass(frozen=True)
class Outlook:
    """Seconds of the rest of a search, low, likely and high, and the edges that it will keep."""

    seconds: tuple[float, float, float]
    n_kept: int


@dataclass(frozen=True)
class PredictedRest:
    """What is left of a search if it keeps certain edges.

    Attributes:
        mask: the edges that it ends with.
        left: edges not decided, in the order in which they will be.
        tested: which of these will be tested: those whose reader is of use.
    """

    mask: Bool[np.ndarray, " edges"]
    left: Int[np.ndarray, " left"]
    tested: Bool[np.ndarray, " left"]


def predict_scores(experiment: Experiment) -> Float[np.ndarray, " edges"] | None:
    """What removing each edge may add to the loss; None where the metric has no gradient."""
    if not experiment.metric.differentiable:
        return None
    points = (0.0, 0.5) if experiment.metric.flat_at_full else (1.0,)
    at_points = [experiment.attribution.at_interpolated_embedding(point) for point in points]
    return np.mean(at_points, axis=0)


def sample_steps(
    search: Acdc,
    experiment: Experiment,
    state: AcdcState,
    scores: Float[np.ndarray, " edges"] | None,
    time_call: TimeCall,
) -> Outlook:
    """Try steps of the rest of a search.

    Args:
        state: after the first steps.
        scores: as of `predict_scores`.
        time_call: as `StepClock.time_call`.
    """
    if scores is None:
        scores = np.zeros(experiment.graph.n_edges)
    strengths = np.abs(scores) if search.absolute else scores
    limit = _choose_limit(search, state, strengths)
    low, likely, high = (
        predict_rest(experiment, state, strengths >= limit * factor)
        for factor in (_FACTOR, 1.0, 1 / _FACTOR)
    )
    if not likely.tested.any():
        return Outlook((0.0, 0.0, 0.0), int(likely.mask.sum()))
    places: list[tuple[int, float]] = []  # operations and seconds for each tested edge
    spent = 0.0
    for share in _PLACES:
        if spent > _SAMPLE_SECONDS and len(places) >= _FEWEST_PLACES:
            break
        place = int(np.flatnonzero(likely.tested)[int(share * likely.tested.sum())])
        n_tested, seconds = _try_steps(search, experiment, state, likely, place, time_call)
        spent += seconds
        if n_tested and seconds > 0:
            places.append((_count_at(experiment, state, likely, place), seconds / n_tested))
    rests = (
        _sum_seconds(places, count_operations(experiment, state, rest))
        for rest in (low, likely, high)
    )
    return Outlook(tuple(sorted(rests)), int(likely.mask.sum()))  # pyright: ignore


def _count_at(experiment: Experiment, state: AcdcState, rest: PredictedRest, place: int) -> int:
    """Operations of testing the edge at a place."""
    reader = int(experiment.graph.ends[0][rest.left[place]])
    return experiment.count_operations(jump_to(state, rest, place).mask, reader)


def count_operations(
    experiment: Experiment, state: AcdcState, rest: PredictedRest
) -> Int[np.ndarray, " tested"]:
    """Operations of each tested edge; all edges into one reader take as many."""
    places = np.flatnonzero(rest.tested)
    readers = experiment.graph.ends[0][rest.left[places]]
    begins = places[np.flatnonzero(np.diff(readers, prepend=-1))]
    n_counted = min(len(begins), _MOST_COUNTED)
    counted = begins[np.linspace(0, len(begins) - 1, n_counted).astype(int)]
    each = np.array([_count_at(experiment, state, rest, int(place)) for place in counted], int)
    return each[np.searchsorted(counted, places, side="right") - 1]


def _choose_limit(search: Acdc, state: AcdcState, strengths: Float[np.ndarray, " edges"]) -> float:
    """The strength above which as many of the edges tested so far lie as were kept of them."""
    tested = np.sort(strengths[state.tested])[::-1]
    n_kept = int((state.tested & state.mask).sum())
    if n_kept < 5:
        return search.limit
    return float(np.clip(tested[n_kept - 1], search.limit / 3, search.limit * 3))


def predict_rest(
    experiment: Experiment, state: AcdcState, strong: Bool[np.ndarray, " edges"]
) -> PredictedRest:
    """The rest of a search that keeps the edges that are strong and lead anywhere."""
    n_decided = sum(len(group) for group in state.order[: state.group]) + state.n_decided
    left = np.concatenate(state.order)[n_decided:]
    protected = experiment.space.protected
    mask = state.mask.copy()
    mask[left] &= (strong | protected)[left]
    live = find_live_edges(experiment.graph, mask)
    while (mask[left] & ~(live | protected)[left]).any():
        mask[left] &= (live | protected)[left]
        live = find_live_edges(experiment.graph, mask)
    return PredictedRest(mask, left, (live & state.mask & ~protected)[left])


def _try_steps(
    search: Acdc,
    experiment: Experiment,
    state: AcdcState,
    rest: PredictedRest,
    place: int,
    time_call: TimeCall,
) -> tuple[int, float]:
    """Take a few steps among the edges into the reader at a place: edges tested, seconds."""
    reader_of = experiment.graph.ends[0]
    reader = int(reader_of[rest.left[place]])
    first = int(np.argmax(reader_of[rest.left] == reader))
    before = jump_to(state, rest, first)
    before, _ = time_call(search.take_step, experiment, replace(before, n_candidates=1))
    # as wide as the search has found worth while so far, and after that by its own rule
    before = replace(before, n_candidates=state.n_candidates)
    total = 0.0
    n_tested = int(before.tested.sum())
    after = before
    for _ in range(_STEPS):
        if not _is_at_reader(experiment, after, reader) or total > _PLACE_SECONDS:
            break
        after, seconds = time_call(search.take_step, experiment, after)
        total += seconds
    return int(after.tested.sum()) - n_tested, total


def jump_to(state: AcdcState, rest: PredictedRest, n: int) -> AcdcState:
    """The state when ``n`` more edges are decided as predicted."""
    mask = state.mask.copy()
    mask[rest.left[:n]] &= rest.mask[rest.left[:n]]
    sizes = np.cumsum([len(group) for group in state.order])
    n_decided = int(sizes[-1]) - len(rest.left) + n
    group = int(np.searchsorted(sizes, n_decided, side="right"))
    return replace(
        state,
        group=group,
        n_decided=n_decided - (int(sizes[group - 1]) if group else 0),
        mask=mask,
        expected=np.full(len(mask), np.nan),
    )


def _is_at_reader(experiment: Experiment, state: AcdcState, reader: int) -> bool:
    """Whether the next edge leads into a reader."""
    if state.group == len(state.order):
        return False
    return int(experiment.graph.ends[0][state.order[state.group][state.n_decided]]) == reader


def _sum_seconds(places: list[tuple[int, float]], operations: Int[np.ndarray, " tested"]) -> float:
    """Seconds of all tested edges, if one takes ``a + b * (its operations)`` seconds.

    The fit is to the places' seconds as shares, so that cheap edges, of which there are many, count
    as dear ones do.
    """
    if not places:
        return 0.0
    work, seconds = np.array(places, float).T
    unit = work.max()
    (a, b), _ = nnls(np.stack([1 / seconds, work / unit / seconds], axis=1), np.ones(len(work)))
    return float((a + b * operations / unit).sum())
