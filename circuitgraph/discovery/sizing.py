"""Sizes and thresholds by what model and prompts do: the defaults of ``docs/defaults.md``."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from jaxtyping import Bool, Float, Int

from circuitgraph.engine.experiment import Experiment, NotFiniteError
from circuitgraph.errors import SearchError

N_SIZES = 16  # tried in a round: over the whole range, then below the first that is faithful
N_ROUNDS = 3
MAX_SIZES = N_ROUNDS * N_SIZES + 2  # masks that are evaluated, the whole model and nothing too
THRESHOLD_SHARE = 0.002  # of the gap between whole model and nothing
USUAL_THRESHOLD = 0.1  # where there is no gap


def find_faithful_size(
    experiment: Experiment,
    make_mask: Callable[[int], Bool[np.ndarray, " edges"]],
    n_most: int,
    wanted: float,
) -> int | None:
    """The smallest size tried whose faithfulness lies between ``wanted`` and ``2 - wanted``.

    Faithfulness is that of the mean metric on the experiment's own prompts. A circuit that does
    more than the model is as unfaithful as one that does less. Where no size is faithful, the size
    that comes nearest.

    Args:
        make_mask: the mask of each size.
        n_most: the largest size, at least 1.

    Returns:
        The size; None where whole model and empty circuit do not differ, so that there is nothing
        to be faithful to.
    """
    full, empty = _measure_losses(experiment, _stack_ends(experiment))
    if abs(full - empty) <= experiment.noise * max(1.0, abs(full)):
        return None
    lowest, highest, size = 1, n_most, n_most
    for _ in range(N_ROUNDS):
        sizes = _list_sizes(lowest, highest)
        losses = _measure_losses(experiment, np.stack([make_mask(int(n)) for n in sizes]))
        distances = np.abs((empty - losses) / (empty - full) - 1)
        near = distances <= 1 - wanted + experiment.noise
        place = int(np.argmax(near)) if near.any() else int(np.argmin(distances))
        size = int(sizes[place])
        if not near.any() or place == 0 or sizes[place] - sizes[place - 1] == 1:
            break
        lowest, highest = int(sizes[place - 1]) + 1, size
    return size


def choose_threshold(experiment: Experiment) -> float:
    """0.2 % of what lies between whole model and empty circuit, to three digits; 0.1 if nothing.

    In the unit of the metric, whatever its scale.

    Raises:
        SearchError: one of the two has a value that is not finite.
    """
    try:
        full, empty = experiment.losses(_stack_ends(experiment))
    except NotFiniteError as error:
        what = "Without any edge" if error.row else "The whole model"
        raise SearchError(f"{what}: {error}") from error
    gap = abs(float(full) - float(empty))
    if gap <= experiment.noise * max(1.0, abs(float(full))):
        return USUAL_THRESHOLD
    return float(f"{THRESHOLD_SHARE * gap:.3g}")


def _stack_ends(experiment: Experiment) -> Bool[np.ndarray, "2 edges"]:
    """The whole model, and no edge."""
    n_edges = experiment.graph.n_edges
    return np.stack([np.ones(n_edges, bool), np.zeros(n_edges, bool)])


def _list_sizes(lowest: int, highest: int) -> Int[np.ndarray, " sizes"]:
    """At most `N_SIZES` whole numbers from ``lowest`` to ``highest``, each larger by some share."""
    return np.unique(np.geomspace(lowest, highest, N_SIZES).round().astype(int))


def _measure_losses(
    experiment: Experiment, masks: Bool[np.ndarray, "n edges"]
) -> Float[np.ndarray, " n"]:
    # As numbers, which go through whole masked runs: the frontier's compilation would not pay.
    return experiment.losses(masks.astype(np.float32))
