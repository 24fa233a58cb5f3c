"""Learned top-k: its soft choice against one solved and differentiated by hand, and its search."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import Array
from scipy.optimize import brentq
from scipy.special import expit

from circuitgraph.discovery.loop import run_search
from circuitgraph.discovery.top_k_mask import TopKMask, choose_highest
from circuitgraph.errors import ArgumentError
from tests.discovery.learning import with_worthy_edges

VALUES = np.random.default_rng(1).normal(size=9)


def choose_softly(values: np.ndarray, k: float, temperature: float) -> np.ndarray:
    """Shares between 0 and 1 that add up to ``k``."""

    def sum_to(threshold: float) -> float:
        return float(expit((values - threshold) / temperature).sum() - k)

    return expit((values - brentq(sum_to, -50, 50, xtol=1e-14)) / temperature)


@pytest.mark.parametrize(("k", "temperature"), [(1, 0.5), (4, 0.2), (8, 2.0)])
def test_the_derivative_is_that_of_a_soft_choice_of_as_many(k: int, temperature: float) -> None:
    weights, width = np.random.default_rng(2).normal(size=9), 1e-5
    expected = [
        (
            weights @ choose_softly(VALUES + width * one, k, temperature)
            - weights @ choose_softly(VALUES - width * one, k, temperature)
        )
        / (2 * width)
        for one in np.eye(9)
    ]

    def weigh_choice(values: Array) -> Array:
        chosen: Array = choose_highest(values, jnp.float32(k), temperature)
        return (jnp.asarray(weights) * chosen).sum()

    gradient = jax.grad(weigh_choice)(jnp.asarray(VALUES, jnp.float32))
    np.testing.assert_allclose(gradient, expected, atol=1e-4)
    assert np.abs(expected).max() > 1e-2


def test_the_choice_itself_is_hard_and_of_as_many() -> None:
    values = jnp.asarray([0.5, 2.0, 0.5, 0.5])
    for k, expected in ((0, [0, 0, 0, 0]), (2, [1, 1, 0, 0]), (4, [1, 1, 1, 1])):
        np.testing.assert_array_equal(choose_highest(values, jnp.float32(k), 1.0), expected)


def test_what_is_worth_something_stays() -> None:
    experiment = with_worthy_edges(4, 1.0)
    algorithm = TopKMask(n_edges=4, steps=200, start_scores=None)
    sizes = [float(algorithm.make_mask(jnp.arange(29.0), jnp.int32(i)).sum()) for i in (0, 50, 150)]
    assert sizes[0] > sizes[1] > sizes[2] == 4
    np.testing.assert_array_equal(run_search(algorithm, experiment).mask, experiment.worth > 0)


def test_settings_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ArgumentError, match="start_scores is 'acdc', but that algorithm gives no"):
        TopKMask(start_scores="acdc")
    with pytest.raises(ArgumentError, match=r"share is 1\.5, but is a share"):
        TopKMask(share=1.5)
