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


def bootstrap(statistic: Callable[..., np.ndarray | np.floating], samples: Sequence[Sample], seed: int) -> Interval:
    """A statistic of paired samples with its percentile bootstrap interval (2,000 resamples of the prompts).

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
            n_resamples=2000,
            batch=250,
            method="percentile",
            rng=np.random.default_rng(seed),
        ).bootstrap_distribution
    low, high = np.quantile(values[np.isfinite(values)], [0.025, 0.975])
    return Interval(mean=float(statistic(*wide, axis=-1)), low=float(low), high=float(high))


def mean_of(sample: Sample, seed: int) -> Interval:
    """The mean of one sample with its interval."""
    return bootstrap(lambda x, axis: x.mean(axis=axis), [sample], seed)
