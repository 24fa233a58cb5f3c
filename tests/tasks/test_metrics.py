"""Every metric on logits worked out by hand."""

from __future__ import annotations

import math

import jax.numpy as jnp
import numpy as np
import pytest

from circuitgraph.errors import UnknownNameError
from circuitgraph.tasks.metrics import Targets, metrics

# Row 0: probabilities 1/10, 2/10, 3/10, 4/10; row 1: the same, reversed and shifted by 5; row 2: a
# tie of all.
P = np.array([0.1, 0.2, 0.3, 0.4])
LOGITS = np.stack([np.log(P), np.log(P[::-1]) + 5, np.zeros(4)])
FULL = np.stack([np.log(P[::-1]), np.log(P[::-1]) - 3, np.log(P)])
ANSWER, DISTRACTOR = [2, 0, 1], [0, 3, 2]

EXPECTED = {
    "logit": [math.log(0.3), math.log(0.4) + 5, 0.0],
    "logit_difference": [math.log(3), math.log(4), 0.0],
    "log_probability": [math.log(0.3), math.log(0.4), math.log(0.25)],
    "probability": [0.3, 0.4, 0.25],
    "probability_difference": [0.2, 0.3, 0.0],
    "cross_entropy": [-math.log(0.3), -math.log(0.4), math.log(4)],
    "kl": [
        0.4 * math.log(4) + 0.3 * math.log(1.5) + 0.2 * math.log(2 / 3) + 0.1 * math.log(0.25),
        0.0,
        sum(p * math.log(p / 0.25) for p in P),
    ],
    "accuracy": [0.0, 1.0, 1.0],
    "rank": [1.0, 0.0, 0.0],
    "reciprocal_rank": [0.5, 1.0, 1.0],
}


def targets(distractor: bool = True) -> Targets:
    return Targets(
        jnp.array(ANSWER),
        jnp.array(DISTRACTOR) if distractor else None,
        jnp.array(FULL, jnp.float32),
    )


def test_every_metric_has_a_worked_example() -> None:
    assert set(metrics.names()) == set(EXPECTED)


@pytest.mark.parametrize("name", EXPECTED)
def test_value(name: str) -> None:
    found = metrics[name].function(jnp.array(LOGITS, jnp.float32), targets())
    np.testing.assert_allclose(found, EXPECTED[name], rtol=1e-6, atol=2e-7)


@pytest.mark.parametrize("name", EXPECTED)
def test_loss_is_lower_for_the_better_of_two_models(name: str) -> None:
    better = jnp.zeros((1, 4), jnp.float32).at[0, 2].set(4.0)
    worse = jnp.zeros((1, 4), jnp.float32).at[0, 0].set(4.0)
    of_one = Targets(jnp.array([[2]]), jnp.array([[0]]), better[None])  # one prompt, one position
    losses = [metrics[name].loss(logits[None], of_one)[0] for logits in (better, worse)]
    assert losses[0] < losses[1]


@pytest.mark.parametrize("name", EXPECTED)
def test_only_the_metric_that_says_so_needs_a_distractor(name: str) -> None:
    logits = jnp.array(LOGITS, jnp.float32)
    if metrics[name].needs_distractor:
        with pytest.raises(ValueError, match="needs distractors"):
            metrics[name].function(logits, targets(distractor=False))
    else:
        np.testing.assert_array_equal(
            metrics[name].function(logits, targets(distractor=False)),
            metrics[name].function(logits, targets()),
        )


@pytest.mark.parametrize("name", ["log_probability", "cross_entropy", "kl", "probability"])
def test_huge_logits_stay_finite(name: str) -> None:
    huge = jnp.array([[1e4, -1e4, 0.0, 1.0]], jnp.float32)
    assert np.isfinite(metrics[name].function(huge, Targets(jnp.array([1]), None, -huge))).all()


def test_several_right_answers_count_together() -> None:
    """Row 0: tokens 1 and 2 are right, 0 and 3 wrong; row 1: only 3 is right; -1 fills up."""
    right, wrong = jnp.array([[2, 1], [3, -1], [1, 2]]), jnp.array([[0, 3], [0, 1], [0, -1]])
    several = targets()._replace(right=right, wrong=wrong)
    logits = jnp.array(LOGITS, jnp.float32)
    difference = metrics["probability_difference"].function(logits, several)
    np.testing.assert_allclose(difference, [0.5 - 0.5, 0.1 - 0.7, 0.5 - 0.25], atol=1e-6)
    np.testing.assert_array_equal(metrics["rank"].function(logits, several), [1, 3, 0])
    np.testing.assert_array_equal(metrics["accuracy"].function(logits, several), [0, 0, 1])


def test_unknown_metric() -> None:
    with pytest.raises(UnknownNameError, match="'reciprocal_rank'"):
        _ = metrics["reciprocal-rank"]
