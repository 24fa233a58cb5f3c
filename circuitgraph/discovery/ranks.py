"""Scores of one algorithm inside another: their names checked, all parts run, ranks made."""

from __future__ import annotations

from typing import cast

import numpy as np
from jaxtyping import Float

from circuitgraph.discovery.base import algorithms
from circuitgraph.discovery.scoring import Scoring
from circuitgraph.engine.experiment import Experiment
from circuitgraph.errors import ArgumentError


def check_scoring(setting: str, name: str) -> None:
    """Raise `ArgumentError` if the algorithm that a setting names gives no scores.

    Raises:
        UnknownNameError: there is no algorithm of that name.
    """
    if not issubclass(algorithms[name], Scoring):
        able = ", ".join(n for n in algorithms.names() if issubclass(algorithms[n], Scoring))
        raise ArgumentError(
            f"{setting} is {name!r}, but that algorithm gives no scores. Use one of: {able}."
        )


def make_scoring(name: str) -> Scoring:
    """An algorithm that scores, in its default settings."""
    return cast("Scoring", algorithms[name]())


def score_edges(search: Scoring, experiment: Experiment) -> Float[np.ndarray, " edges"]:
    """All parts of the scores, one after the other."""
    state = search.init_state(experiment)
    while state.done < state.total:
        state = search.take_step(experiment, state)
    return state.scores


def rank_scores(scores: Float[np.ndarray, " edges"], noise: float) -> Float[np.ndarray, " edges"]:
    """Ranks by size, up to 1, with the scores' signs; equal ones share the mean of their ranks.

    Args:
        noise: share of the largest size below which a score counts as zero.
    """
    from scipy import stats  # takes a second to import

    sizes = np.abs(scores)
    sizes = np.where(sizes <= noise * sizes.max(initial=0.0), 0.0, sizes)
    ranks = stats.rankdata(sizes, method="average") / max(1, len(scores))
    return np.where(sizes > 0, np.sign(scores) * ranks, 0.0)
