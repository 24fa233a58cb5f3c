"""Bootstrap intervals, and those of shares."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from circuitgraph.errors import ArgumentError
from circuitgraph.evaluation.baselines import compute_faithfulness
from circuitgraph.evaluation.intervals import (
    estimate_from_means,
    estimate_mean,
    estimate_proportion,
    find_quantiles,
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


def test_quantiles_are_those_of_hesterberg() -> None:
    """t(0.975, 19) = 2.0930 and sqrt(20 / 19) = 1.0260: Phi(-2.1474) = 0.0159, not 0.025."""
    assert find_quantiles(20) == pytest.approx([0.0159, 0.9841], abs=5e-5)
    assert find_quantiles(10**6) == pytest.approx([0.025, 0.975], abs=1e-6)


def test_interval_covers_the_truth_95_times_in_100_from_20_prompts() -> None:
    """Plain quantiles of the same resamples cover 92.9 %: P(|t| < 1.96 sqrt(19 / 20)), 19 degrees.

    Bounds are four standard errors of shares of 4,000 around 95 %, and around the difference.
    """
    means = resample_means(np.random.default_rng(1).normal(size=(4000, 20)), 0)

    def covers(quantiles: list[float]) -> float:
        low, high = np.quantile(means, quantiles, axis=1)
        return float(np.mean((low <= 0) & (high >= 0)))

    ours, plain = covers(find_quantiles(20)), covers([0.025, 0.975])
    assert ours == pytest.approx(0.95, abs=4 * np.sqrt(0.95 * 0.05 / 4000))
    assert ours - plain == pytest.approx(0.021, abs=4 * np.sqrt(0.021 / 4000))


@pytest.mark.parametrize("chance", [0.5, 0.9, 0.99])
def test_accuracy_covers_the_truth_even_where_all_prompts_are_right(chance: float) -> None:
    """Summed over all samples of 20 prompts, not drawn: coverage is exact.

    The bootstrap of 20 right prompts is [1, 1], and covers 0.99 in none of the 82 % of samples that
    are such.
    """
    covered = 0.0
    for n_right in range(21):
        sample = (np.arange(20) < n_right).astype(float)
        interval = estimate_mean(sample, 0, share=True)
        assert interval == estimate_proportion(n_right, 20)
        covered += stats.binom.pmf(n_right, 20, chance) * (interval.low <= chance <= interval.high)
    assert covered > 0.93


def test_shares_without_spread_have_an_interval() -> None:
    """Of 20 prompts at one value, at most 16 % of others (Wilson: 3.8415 / 23.8415) differ, and
    these by as much as values between 0 and 1 can.
    """
    unseen = 1.959964**2 / (20 + 1.959964**2)
    for value in (0.5, 1 / 3):
        found = estimate_mean(np.full(20, value), 0, share=True)
        bounds = (value * (1 - unseen), value * (1 - unseen) + unseen)
        assert (found.low, found.mean, found.high) == pytest.approx((bounds[0], value, bounds[1]))
    ones = estimate_mean(np.ones(20), 0, share=True)
    assert (ones.low, ones.high) == pytest.approx((1 - unseen, 1.0)), "Wilson's for 20 of 20"


def test_faithfulness_by_accuracy_has_an_interval_where_circuit_and_model_agree() -> None:
    """All right, all right, all wrong: 16 % of other prompts could be right with the circuit and
    wrong with the model, or be right without any edge and wrong with the circuit.
    """
    empty, full = np.zeros(20), np.ones(20)
    samples = np.stack([empty, full, full])
    found = estimate_from_means(compute_faithfulness, samples, 0, share=True)
    unseen = 1.959964**2 / (20 + 1.959964**2)
    assert found.mean == 1
    assert found.low == pytest.approx((1 - 2 * unseen) / (1 - unseen))
    assert found.high == pytest.approx((1 - unseen) / (1 - 2 * unseen))
    mixed = np.stack([np.arange(20) < 8, full, full]).astype(float)
    agreeing = estimate_from_means(compute_faithfulness, mixed, 0, share=True)
    assert agreeing.low < 1 < agreeing.high
    logits = estimate_from_means(compute_faithfulness, samples, 0)
    assert (logits.low, logits.high) == (1, 1), "of other metrics no bounds are known"


def test_faithfulness_by_accuracy_covers_the_truth_near_the_edge() -> None:
    """Twenty prompts; model and circuit disagree on 2 % of prompts, so mostly on none of them.

    The model is right on 95 %, nothing on 10 %: the circuit is right on 0.98 * 0.95 + 0.02 * 0.05.
    """
    rng, n_trials = np.random.default_rng(0), 400
    truth = (0.98 * 0.95 + 0.02 * 0.05 - 0.1) / (0.95 - 0.1)
    n_covered = {False: 0, True: 0}
    for seed in range(n_trials):
        full, empty = rng.random(20) < 0.95, rng.random(20) < 0.1
        circuit = full ^ (rng.random(20) < 0.02)
        samples = np.stack([empty, full, circuit]).astype(float)
        for share in n_covered:
            found = estimate_from_means(compute_faithfulness, samples, seed, share=share)
            n_covered[share] += found.low <= truth <= found.high
    assert n_covered[True] / n_trials >= 0.95
    assert n_covered[False] / n_trials < 0.5, "the bootstrap alone"


def test_many_samples_without_spread_have_an_interval_too() -> None:
    samples = np.stack([np.zeros(20), *np.ones((41, 20))])
    found = estimate_from_means(lambda m: m[2:22].mean(0) - m[22:].mean(0), samples, 0, share=True)
    unseen = 1.959964**2 / (20 + 1.959964**2)
    assert (found.low, found.mean, found.high) == pytest.approx((-unseen, 0, unseen))


def test_same_seed_same_interval() -> None:
    sample = np.random.default_rng(2).normal(size=30)
    assert estimate_mean(sample, 5) == estimate_mean(sample, 5) != estimate_mean(sample, 6)


def test_constant_sample() -> None:
    found = estimate_mean(np.full(9, 2.5), 0)
    assert (found.mean, found.low, found.high) == pytest.approx((2.5, 2.5, 2.5))


def test_samples_stay_paired() -> None:
    """The difference of a sample and itself has no spread, however wide the sample."""
    wide = np.random.default_rng(3).normal(size=40) * 100
    found = estimate_from_means(lambda means: means[0] - means[1], np.stack([wide, wide - 1]), 0)
    assert found.low == pytest.approx(found.high) == pytest.approx(1.0)


def test_resamples_without_a_ratio_do_not_count() -> None:
    """With one prompt in four that tells full from empty, many resamples have 0/0."""
    full, empty = np.array([1.0, 0, 0, 0]), np.zeros(4)
    found = estimate_from_means(compute_faithfulness, np.stack([empty, full, full]), 0)
    assert (found.mean, found.low, found.high) == (1.0, 1.0, 1.0)


def test_one_prompt_has_no_interval() -> None:
    with pytest.raises(ArgumentError, match="number of prompts is 1, but must be at least 2"):
        estimate_mean(np.ones(1), 0)


def test_resampled_means_are_those_of_one_set_of_resamples() -> None:
    sample = np.random.default_rng(4).normal(size=30)
    one, twice = resample_means(np.stack([sample, 2 * sample + 1]), 0)
    assert twice == pytest.approx(2 * one + 1)
    found = estimate_mean(sample, 0)
    assert np.quantile(one, find_quantiles(30)) == pytest.approx([found.low, found.high])
    with pytest.raises(ArgumentError, match="must be at least 2"):
        resample_means(np.ones((3, 1)), 0)


def test_spread_holds_95_percent_of_the_results() -> None:
    found = summarise_spread([float(i) for i in range(101)])
    assert (found.mean, found.low, found.high) == pytest.approx((50, 2.5, 97.5))
