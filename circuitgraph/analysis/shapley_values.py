"""Shapley values of any function of sets: exact over all sets, or from random orders."""

from __future__ import annotations

from collections.abc import Callable
from math import factorial

import numpy as np
from jaxtyping import Bool, Float

Sets = Bool[np.ndarray, "sets players"]
ValueFunction = Callable[[Sets], Float[np.ndarray, " sets"]]


def list_sets(n: int) -> Sets:
    """All sets of ``n`` players; set number i has the players whose bits are set in i."""
    return (np.arange(2**n)[:, None] >> np.arange(n) & 1).astype(bool)


def compute_shapley(values: Float[np.ndarray, " sets"]) -> Float[np.ndarray, " players"]:
    """Each player's mean contribution over all orders, from the values of `list_sets` (Shapley
    1953).
    """
    n = len(values).bit_length() - 1
    sets, numbers = list_sets(n), np.arange(len(values))
    sizes = sets.sum(1)
    # how many of the n! orders have exactly this set before the player
    weights = np.array([factorial(k) * factorial(n - k - 1) for k in range(n)]) / factorial(n)
    without = [numbers[~sets[:, player]] for player in range(n)]
    return np.array(
        [
            (weights[sizes[own]] * (values[own | 1 << player] - values[own])).sum()
            for player, own in enumerate(without)
        ]
    )


def sample_shapley(
    value: ValueFunction, n: int, n_orders: int, rng: np.random.Generator
) -> Float[np.ndarray, "orders players"]:
    """Each player's contribution in random orders, whose means are unbiased (Castro et al. 2009).

    Every order is taken backwards too, as its own neighbour, which narrows the spread of means
    (antithetic sampling, Mitchell et al. 2022); one row is the mean of both.
    """
    orders = np.array([rng.permutation(n) for _ in range(n_orders)])
    both = np.concatenate([orders, orders[:, ::-1]])
    # the set before each step of each order, and after the last one: [orders, steps, players]
    rank = both.argsort(1)
    sets = rank[:, None, :] < np.arange(n + 1)[None, :, None]
    distinct, where = np.unique(sets.reshape(-1, n), axis=0, return_inverse=True)
    values = value(distinct)[where.reshape(len(both), n + 1)]
    gains = np.take_along_axis(np.diff(values, axis=1), rank, axis=1)
    return gains.reshape(2, n_orders, n).mean(0)
