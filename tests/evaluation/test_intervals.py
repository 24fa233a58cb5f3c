"""Bootstrap intervals."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from circuitgraph.errors import ArgumentError
from circuitgraph.evaluation.baselines import normalise_samples
from circuitgraph.evaluation.intervals import (
    estimate_mean,
    estimate_statistic,
    resample_means,
    summarise_spread,
)

numbers = st.floats(-1e3, 1e3, width=32)


@settings(max_examples=40)
@given(sample=st.lists(numbers, min_size=8, max_size=60))
def test_interval_lies_around_the_mean_and_inside_the_sample(sample: list[float]) -> None:
    values = np.array(sample)
    found = estimate_mean(values, seed=0)
    slack = 1e-6 * max(1.0, np.abs(values).max())
    assert found.mean == pytest.approx(values.mean())
    assert values.min() - slack <= found.low <= found.mean + slack
    assert found.mean - slack <= found.high <= values.max() + slack


def test_interval_shrinks_as_one_over_the_root_of_n() -> None:
    rng = np.random.default_rng(0)
    widths = [(i := estimate_mean(rng.normal(size=n), 0)).high - i.low for n in (25, 400, 6400)]
    assert 3 < widths[0] / widths[1] < 5.5
    assert 3 < widths[1] / widths[2] < 5.5
    assert widths[1] == pytest.approx(2 * 1.96 / 20, rel=0.15)


def test_interval_covers_the_truth_about_95_times_in_100() -> None:
    rng = np.random.default_rng(1)
    found = [estimate_mean(rng.normal(size=60), seed) for seed in range(100)]
    assert 88 <= sum(i.low <= 0 <= i.high for i in found) <= 99


def test_same_seed_same_interval() -> None:
    sample = np.random.default_rng(2).normal(size=30)
    assert estimate_mean(sample, 5) == estimate_mean(sample, 5) != estimate_mean(sample, 6)


def test_constant_sample() -> None:
    found = estimate_mean(np.full(9, 2.5), 0)
    assert (found.mean, found.low, found.high) == (2.5, 2.5, 2.5)


def test_samples_stay_paired() -> None:
    """The difference of a sample and itself has no spread, however wide the sample."""
    wide = np.random.default_rng(3).normal(size=40) * 100
    found = estimate_statistic(
        lambda x, y, axis: x.mean(axis=axis) - y.mean(axis=axis), [wide, wide - 1], 0
    )
    assert found.low == pytest.approx(found.high) == pytest.approx(1.0)


def test_resamples_without_a_ratio_do_not_count() -> None:
    """With one prompt in four that tells full from empty, many resamples have 0/0."""
    full, empty = np.array([1.0, 0, 0, 0]), np.zeros(4)
    found = estimate_statistic(normalise_samples, [full, empty, full], 0)
    assert (found.mean, found.low, found.high) == (1.0, 1.0, 1.0)


def test_one_prompt_has_no_interval() -> None:
    with pytest.raises(ArgumentError, match="number of prompts is 1, but must be at least 2"):
        estimate_mean(np.ones(1), 0)


def test_resampled_means_are_those_of_one_set_of_resamples() -> None:
    sample = np.random.default_rng(4).normal(size=30)
    one, twice = resample_means(np.stack([sample, 2 * sample + 1]), 0)
    assert twice == pytest.approx(2 * one + 1)
    found = estimate_mean(sample, 0)
    assert np.quantile(one, [0.025, 0.975]) == pytest.approx([found.low, found.high], abs=0.05)
    with pytest.raises(ArgumentError, match="must be at least 2"):
        resample_means(np.ones((3, 1)), 0)


def test_spread_holds_95_percent_of_the_results() -> None:
    found = summarise_spread([float(i) for i in range(101)])
    assert (found.mean, found.low, found.high) == pytest.approx((50, 2.5, 97.5))
