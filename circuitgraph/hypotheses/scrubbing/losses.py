"""Losses of many trials on the same prompts, and the shares of the loss that they recover, with
paired intervals.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float

from circuitgraph.catalog.records import Interval
from circuitgraph.errors import HypothesisError
from circuitgraph.evaluation.intervals import resample_means
from circuitgraph.hypotheses.scrubbing.trials import MODEL, RANDOM_PROMPTS, Key

PerPrompt = Float[np.ndarray, " n"]


@dataclass(frozen=True)
class Losses:
    """The loss of each trial on each prompt, the model's and that of the zero point among them.

    All intervals are of the same 2,000 resamples of the prompts, so that differences are paired.
    """

    of: Mapping[Key, PerPrompt]
    seed: int

    @cached_property
    def _drawn(self) -> dict[Key, Float[np.ndarray, " resamples"]]:
        """The mean losses: of the sample itself first, then of each resample."""
        stack = np.stack([np.asarray(values, np.float64) for values in self.of.values()])
        means = np.concatenate(
            [stack.mean(axis=1, keepdims=True), resample_means(stack, self.seed)], axis=1
        )
        return dict(zip(self.of, means, strict=True))

    def mean(self, key: Key) -> Interval:
        """A trial's mean loss."""
        return _interval(self._drawn[key])

    def recovered(self, key: Key) -> Interval:
        """The share of the loss that a trial recovers: 0 at the zero point, 1 for the model itself."""
        return _interval(self._shares(key))

    def standard_error(self, key: Key) -> float:
        """The standard error of that share over prompts."""
        shares = self._shares(key)[1:]
        return float(shares[np.isfinite(shares)].std())

    def difference(self, key: Key, other: Key) -> Interval:
        """How much nearer one trial comes to all of the loss than another: to recover too much is
        no better.
        """
        return _interval(np.abs(1 - self._shares(other)) - np.abs(1 - self._shares(key)))

    def within(self, chosen: Bool[np.ndarray, " n"]) -> Losses:
        """The same of some of the prompts."""
        return Losses({key: values[chosen] for key, values in self.of.items()}, self.seed)

    def check(self, metric: str) -> None:
        """Refuse a model that does no better than the zero point.

        Raises:
            HypothesisError: there is nothing to recover.
        """
        model, nothing = self.mean(MODEL).mean, self.mean(RANDOM_PROMPTS).mean
        if not nothing > model:
            raise HypothesisError(
                f"The model's loss by {metric} is {model:.4g}, that of the logits of random other "
                f"prompts {nothing:.4g}: there is no behaviour to explain. Use prompts that the "
                "model gets right, or another metric."
            )

    def _shares(self, key: Key) -> Float[np.ndarray, " resamples"]:
        model, nothing, here = (self._drawn[k] for k in (MODEL, RANDOM_PROMPTS, key))
        with np.errstate(divide="ignore", invalid="ignore"):
            return (nothing - here) / (nothing - model)


def worst_tenth(values: PerPrompt, seed: int) -> Interval:
    """The mean of the largest tenth of a sample, with its bootstrap interval.

    It is estimated anew in each of the resamples, so the interval knows that the worst are chosen
    by looking.
    """
    ordered = np.sort(np.asarray(values, np.float64))
    n, tenth = len(ordered), max(1, len(ordered) // 10)
    draws = np.sort(np.random.default_rng(seed).integers(n, size=(500, n)), axis=1)[:, -tenth:]
    return _interval(np.concatenate([[ordered[-tenth:].mean()], ordered[draws].mean(axis=1)]))


def _interval(values: Float[np.ndarray, " resamples"]) -> Interval:
    """What comes first, with the range that holds 95 % of the rest."""
    low, high = np.quantile(values[1:][np.isfinite(values[1:])], [0.025, 0.975])
    return Interval(mean=float(values[0]), low=float(low), high=float(high))
