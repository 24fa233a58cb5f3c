"""Means with 95 % intervals over prompts: bootstrapped, or Wilson's for values of 0 and 1."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import product

import numpy as np
from jaxtyping import Float, Int
from scipy import special

from circuitgraph.catalog.records import Interval
from circuitgraph.errors import check_at_least

Sample = Float[np.ndarray, " batch"]

Statistic = np.ndarray | np.floating  # of all resamples, or of the sample itself
Means = Float[np.ndarray, "n resamples"]

_RESAMPLES = 2000
_QUANTILES = [0.025, 0.975]  # the ends of a range that holds 95 % of some results
_MANY_SAMPLES = 12  # whose 4,096 corners are tried one by one; see `_list_corners`
_NO_SPREAD = 1e-9


def find_quantiles(n: int) -> list[float]:
    """The expanded quantiles whose bootstrap interval is a 95 % interval of ``n`` prompts.

    Plain quantiles 0.025 and 0.975 give too narrow an interval: the bootstrap's spread is that of
    a sample, (n - 1) / n of the variance, and it looks up the normal instead of the t distribution.
    For normal samples of 20 it covers the truth in 92 % of cases, with Phi(-+ sqrt(n / (n - 1))
    t(0.975, n - 1)) in 94 % (Hesterberg 2015, "What teachers should know about the bootstrap",
    section 3.1).
    """
    reach = np.sqrt(n / (n - 1)) * special.stdtrit(n - 1, 0.975)
    low = float(special.ndtr(-reach))
    return [low, 1 - low]


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
    # [n, batch] @ [batch, resamples]: all means in one product.
    return samples.astype(np.float64) @ (_draw_resamples(n_prompts, seed).T / n_prompts)


@lru_cache(maxsize=1)  # a report takes many means over the same prompts; drawing is most of each
def _draw_resamples(n_prompts: int, seed: int) -> Int[np.ndarray, "resamples batch"]:
    """How often each resample holds each prompt; rows sum to ``n_prompts``."""
    rng = np.random.default_rng(seed)
    counts = rng.multinomial(n_prompts, np.full(n_prompts, 1 / n_prompts), size=_RESAMPLES)
    counts.flags.writeable = False
    return counts


def estimate_from_means(
    statistic: Callable[[Means], Float[np.ndarray, " resamples"]],
    samples: Float[np.ndarray, "n batch"],
    seed: int,
    *,
    share: bool = False,
) -> Interval:
    """A function of the means of paired samples, with its bootstrap interval.

    Resamples in which the statistic is undefined (such as 0/0 for a ratio) do not count. The
    quantiles are those of `find_quantiles`.

    Args:
        statistic: from the means of all samples in each resample to one value for each resample.
        samples: each has one value per prompt, all in the same order of prompts.
        share: values lie between 0 and 1 and reach both. Where the bootstrap has no spread then
            (20 of 20 prompts are right), the interval is that of `_widen_means`.

    Raises:
        ArgumentError: fewer than two prompts.
    """
    values = statistic(resample_means(samples, seed))
    low, high = np.quantile(values[np.isfinite(values)], find_quantiles(samples.shape[1]))
    # The sample itself, as if it were the only resample: [n, batch] -> [n, 1] -> [1].
    means = samples.astype(np.float64).mean(axis=1, keepdims=True)
    if share and high - low <= _NO_SPREAD:
        with np.errstate(divide="ignore", invalid="ignore"):
            corners = statistic(_widen_means(means, samples.shape[1]))
        corners = corners[np.isfinite(corners)]
        low, high = min(low, corners.min(initial=low)), max(high, corners.max(initial=high))
    return Interval(mean=float(statistic(means)[0]), low=float(low), high=float(high))


def estimate_mean(sample: Sample, seed: int, *, share: bool = False) -> Interval:
    """The mean of one sample with its interval: bootstrapped, or Wilson's for values of 0 and 1.

    Args:
        share: as in `estimate_from_means`; values that are all 0 or 1 have Wilson's interval.
    """
    if share and np.isin(sample, (0, 1)).all():
        check_at_least("the number of prompts", len(sample), 2)
        return estimate_proportion(int(sample.sum()), len(sample))
    return estimate_from_means(lambda means: means[0], sample[None], seed, share=share)


def estimate_proportion(successes: int, n: int) -> Interval:
    """A proportion with its Wilson interval, which has a width even where all or none succeed.

    Raises:
        ArgumentError: ``n`` is 0.
    """
    check_at_least("the number of prompts", n, 1)
    share, z = successes / n, special.ndtri(0.975)
    # as scipy.stats.binomtest has it, which takes a second to import
    middle, scale = 2 * n * share + z**2, 2 * (n + z**2)
    reach = z / scale * np.sqrt(4 * n * share * (1 - share) + z**2)
    low = 0.0 if successes == 0 else float(middle / scale - reach)
    high = 1.0 if successes == n else float(middle / scale + reach)
    return Interval(mean=share, low=low, high=high)


def summarise_spread(values: Sequence[float | Statistic]) -> Interval:
    """The mean of several results, with the range that holds 95 % of the results."""
    results = np.array([float(value) for value in values])
    low, high = np.quantile(results, _QUANTILES)
    return Interval(mean=float(results.mean()), low=float(low), high=float(high))


def _widen_means(means: Float[np.ndarray, "n 1"], n_prompts: int) -> Means:
    """What the means could be if some prompts were unlike all ``n_prompts`` that were seen.

    Their share is at most what Wilson's interval leaves where none of n is such (16 % for 20), and
    each of the values on such a prompt is 0 or 1. For a single sample of 20 ones this gives
    Wilson's own interval.
    """
    unseen = estimate_proportion(0, n_prompts).high
    return (1 - unseen) * means + unseen * _list_corners(len(means))


def _list_corners(n: int) -> Float[np.ndarray, "n corners"]:
    """All zeros and ones for ``n`` samples; of more than 12, neighbours are alike.

    The first two samples, which are the baselines of most statistics, always stand alone.
    """
    corners = np.array(list(product((0.0, 1.0), repeat=min(n, _MANY_SAMPLES)))).T
    if n <= _MANY_SAMPLES:
        return corners
    groups = 2 + np.arange(n - 2) * (_MANY_SAMPLES - 2) // (n - 2)
    return corners[np.concatenate([[0, 1], groups])]
