"""How many edges to select: the smallest circuit tried that does what the model does."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from jaxtyping import Bool, Float, Int

from circuitgraph.engine.experiment import Experiment

N_SIZES = 16  # tried in a round: over the whole range, then below the first that is faithful
N_ROUNDS = 3
MAX_SIZES = N_ROUNDS * N_SIZES + 2  # masks that are evaluated, the whole model and nothing too
_NOISE = 1e-6  # about eight roundings of float32


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
    n_edges = experiment.graph.n_edges
    ends = np.stack([np.ones(n_edges, bool), np.zeros(n_edges, bool)])
    full, empty = _measure_losses(experiment, ends)
    if abs(full - empty) <= _NOISE * max(1.0, abs(full)):
        return None
    lowest, highest = 1, n_most
    for _ in range(N_ROUNDS):
        sizes = _list_sizes(lowest, highest)
        losses = _measure_losses(experiment, np.stack([make_mask(int(n)) for n in sizes]))
        distances = np.abs((empty - losses) / (empty - full) - 1)
        near = distances <= 1 - wanted + _NOISE
        place = int(np.argmax(near)) if near.any() else int(np.argmin(distances))
        if not near.any() or place == 0 or sizes[place] - sizes[place - 1] == 1:
            break
        lowest, highest = int(sizes[place - 1]) + 1, int(sizes[place])
    return int(sizes[place])


def _list_sizes(lowest: int, highest: int) -> Int[np.ndarray, " sizes"]:
    """At most `N_SIZES` whole numbers from ``lowest`` to ``highest``, each larger by some share."""
    return np.unique(np.geomspace(lowest, highest, N_SIZES).round().astype(int))


def _measure_losses(
    experiment: Experiment, masks: Bool[np.ndarray, "n edges"]
) -> Float[np.ndarray, " n"]:
    # As numbers, which go through whole masked runs: the frontier's compilation would not pay.
    return experiment.losses(masks.astype(np.float32))
