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


def bootstrap(
    statistic: Callable[..., Statistic], samples: Sequence[Sample], seed: int
) -> Interval:
    """A statistic of paired samples with its percentile bootstrap interval (2,000 resamples of the
    prompts).

    Resamples in which the statistic is undefined (such as 0/0 for a ratio) do not count.

    Args:
        statistic: vectorised, with an ``axis`` argument.
        samples: one value per prompt each, in the same order.

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
    low, high = np.quantile(values[np.isfinite(values)], [0.025, 0.975])
    return Interval(mean=float(statistic(*wide, axis=-1)), low=float(low), high=float(high))


def mean_of(sample: Sample, seed: int) -> Interval:
    """The mean of one sample with its interval."""
    return bootstrap(lambda x, axis: x.mean(axis=axis), [sample], seed)


def proportion(successes: int, n: int) -> Interval:
    """A share with its Wilson interval, which is wider than nothing where all or none succeed.

    Raises:
        ArgumentError: none were tried.
    """
    check_at_least("the number of prompts", n, 1)
    found = stats.binomtest(successes, n).proportion_ci(0.95, method="wilson")
    return Interval(mean=successes / n, low=float(found.low), high=float(found.high))


def spread(values: Sequence[float | Statistic]) -> Interval:
    """The mean of several results, with the range that holds 95 % of them."""
    found = np.array([float(value) for value in values])
    low, high = np.quantile(found, [0.025, 0.975])
    return Interval(mean=float(found.mean()), low=float(low), high=float(high))


def resampled(samples: Float[np.ndarray, "n batch"], seed: int) -> Float[np.ndarray, "n resamples"]:
    """The mean of each sample in each of 2,000 resamples of the prompts, the same ones for all
    samples.

    Raises:
        ArgumentError: fewer than two prompts.
    """
    n_prompts = samples.shape[1]
    check_at_least("the number of prompts", n_prompts, 2)
    rng = np.random.default_rng(seed)
    counts = rng.multinomial(n_prompts, np.full(n_prompts, 1 / n_prompts), size=_RESAMPLES)
    return samples.astype(np.float64) @ (counts.T / n_prompts)


def of_means(
    statistic: Callable[[Float[np.ndarray, "n resamples"]], Float[np.ndarray, " resamples"]],
    samples: Float[np.ndarray, "n batch"],
    seed: int,
) -> Interval:
    """As `bootstrap`, for a function of the samples' means, of which many samples cost little.

    Args:
        statistic: from the means of all samples in each resample to one value for each resample.
    """
    values = statistic(resampled(samples, seed))
    low, high = np.quantile(values[np.isfinite(values)], [0.025, 0.975])
    mean = statistic(samples.astype(np.float64).mean(axis=1, keepdims=True))
    return Interval(mean=float(mean[0]), low=float(low), high=float(high))
