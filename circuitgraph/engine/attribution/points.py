"""Where along a line a gradient is worth taking: where the loss changes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from jaxtyping import Float

Measure = Callable[[Float[np.ndarray, " batch"]], Float[np.ndarray, " batch"]]


def choose_points(
    measure: Measure, n_prompts: int, n_points: int
) -> tuple[Float[np.ndarray, "points batch"], Float[np.ndarray, "points batch"]]:
    """The middles of unequal pieces of the line from 0 to 1, and how long the pieces are.

    The line is cut ``n_points - 1`` times: each time the piece over which the prompt's loss changes
    most (of equal ones the first) is halved. So the pieces end up short where the loss changes, and
    the sum of gradients at the middles, times the lengths, is the integral by the midpoint rule.

    Args:
        measure: the losses of all prompts, each at a place of its own.
    """
    rows = np.arange(n_prompts)
    cuts = np.stack([np.zeros(n_prompts), np.ones(n_prompts)])  # [cuts, batch], ascending
    losses = np.stack([measure(cuts[0]), measure(cuts[1])])
    for _ in range(n_points - 1):
        piece = np.argmax(np.abs(np.diff(losses, axis=0)), axis=0)
        middle = (cuts[piece, rows] + cuts[piece + 1, rows]) / 2
        cuts = np.concatenate([cuts, middle[None]])
        losses = np.concatenate([losses, measure(middle)[None]])
        order = np.argsort(cuts, axis=0, kind="stable")
        cuts, losses = (np.take_along_axis(table, order, axis=0) for table in (cuts, losses))
    return (cuts[1:] + cuts[:-1]) / 2, np.diff(cuts, axis=0)
