"""Means with 95 % bootstrap intervals over prompts."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Float
from scipy import stats

from circuitgraph.catalog.records import Interval
from circuitgraph.errors import check_at_least

Sample = Float[np.ndarray, " batch"]

Statistic = np.ndarray | np.floating  # of all resamples, or of the sample itself

_RESAMPLES = 2000
_QUANTILES = [0.025, 0.975]  # the ends of a 95 % interval


def estimate_statistic(
    statistic: Callable[..., Statistic], samples: Sequence[Sample], seed: int
) -> Interval:
    """A statistic of paired samples with its percentile bootstrap interval.

    The prompts are resampled 2,000 times. Resamples in which the statistic is undefined (such as
    0/0 for a ratio) do not count.

    Args:
        statistic: a vectorised function with an ``axis`` argument.
        samples: each has one value per prompt, all in the same order of prompts.

    Raises:
        ArgumentError: fewer than two prompts.
    """
    check_at_least("the number of prompts", len(samples[0]), 2)
    wide = [np.asarray(sample, np.float64) for sample in samples]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", stats.DegenerateDataWarning)
        values = stats.bootstrap(
            wide,
            statistic,
            paired=True,
            vectorized=True,
            n_resamples=_RESAMPLES,
            batch=250,
            method="percentile",
            rng=np.random.default_rng(seed),
        ).bootstrap_distribution
    low, high = np.quantile(values[np.isfinite(values)], _QUANTILES)
    return Interval(mean=float(statistic(*wide, axis=-1)), low=float(low), high=float(high))


def estimate_mean(sample: Sample, seed: int) -> Interval:
    """The mean of one sample with its bootstrap interval."""
    return estimate_statistic(lambda x, axis: x.mean(axis=axis), [sample], seed)


def estimate_proportion(successes: int, n: int) -> Interval:
    """A proportion with its Wilson interval, which has a width even where all or none succeed.

    Raises:
        ArgumentError: ``n`` is 0.
    """
    check_at_least("the number of prompts", n, 1)
    wilson = stats.binomtest(successes, n).proportion_ci(0.95, method="wilson")
    return Interval(mean=successes / n, low=float(wilson.low), high=float(wilson.high))


def summarise_spread(values: Sequence[float | Statistic]) -> Interval:
    """The mean of several results, with the range that holds 95 % of the results."""
    results = np.array([float(value) for value in values])
    low, high = np.quantile(results, _QUANTILES)
    return Interval(mean=float(results.mean()), low=float(low), high=float(high))


def resample_means(
    samples: Float[np.ndarray, "n batch"], seed: int
) -> Float[np.ndarray, "n resamples"]:
    """The mean of each sample in each of 2,000 resamples of the prompts.

    The resamples are the same for all samples.

    Raises:
        ArgumentError: fewer than two prompts.
    """
    n_prompts = samples.shape[1]
    check_at_least("the number of prompts", n_prompts, 2)
    rng = np.random.default_rng(seed)
    # A resample is how often it holds each prompt: [resamples, batch], rows sum to n_prompts.
    counts = rng.multinomial(n_prompts, np.full(n_prompts, 1 / n_prompts), size=_RESAMPLES)
    # [n, batch] @ [batch, resamples]: all means in one product.
    return samples.astype(np.float64) @ (counts.T / n_prompts)


def estimate_from_means(
    statistic: Callable[[Float[np.ndarray, "n resamples"]], Float[np.ndarray, " resamples"]],
    samples: Float[np.ndarray, "n batch"],
    seed: int,
) -> Interval:
    """As `estimate_statistic`, for a function of means; fast for many samples.

    Args:
        statistic: from the means of all samples in each resample to one value for each resample.
    """
    values = statistic(resample_means(samples, seed))
    low, high = np.quantile(values[np.isfinite(values)], _QUANTILES)
    # The sample itself, as if it were the only resample: [n, batch] -> [n, 1] -> [1].
    mean = statistic(samples.astype(np.float64).mean(axis=1, keepdims=True))
    return Interval(mean=float(mean[0]), low=float(low), high=float(high))
