"""Losses of many trials on the same prompts, and the shares of the loss that the trials recover.

All intervals are paired: they come from the same resamples of the prompts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float

from circuitgraph.catalog.records import Interval
from circuitgraph.errors import HypothesisError
from circuitgraph.evaluation.intervals import find_quantiles, resample_means
from circuitgraph.hypotheses.scrubbing.trials import MODEL, RANDOM_PROMPTS, TrialKey

PerPrompt = Float[np.ndarray, " n"]


@dataclass(frozen=True)
class Losses:
    """The loss of each trial on each prompt, the model's and that of the zero point among them.

    All intervals are of the same 2,000 resamples of the prompts, so that differences are paired.
    """

    by_trial: Mapping[TrialKey, PerPrompt]
    seed: int

    @cached_property
    def _mean_losses(self) -> dict[TrialKey, Float[np.ndarray, " resamples"]]:
        """The mean losses: of the sample itself first, then of each resample."""
        stack = np.stack([np.asarray(values, np.float64) for values in self.by_trial.values()])
        # [trials, prompts] -> [trials, 1 + resamples]; all trials share the resamples
        means = np.concatenate(
            [stack.mean(axis=1, keepdims=True), resample_means(stack, self.seed)], axis=1
        )
        return dict(zip(self.by_trial, means, strict=True))

    def mean_loss(self, key: TrialKey) -> Interval:
        """A trial's mean loss."""
        return _make_interval(self._mean_losses[key], self._n_prompts)

    def loss_recovered(self, key: TrialKey) -> Interval:
        """The share of the loss that a trial recovers: 0 at the zero point, 1 for the model."""
        return _make_interval(self._recovered_shares(key), self._n_prompts)

    def standard_error(self, key: TrialKey) -> float:
        """The standard error, over prompts, of the share of the loss that a trial recovers."""
        shares = self._recovered_shares(key)[1:]
        return float(shares[np.isfinite(shares)].std())

    def compare_trials(self, key: TrialKey, other: TrialKey) -> Interval:
        """How much nearer one trial comes to all of the loss than another trial.

        Nearer, because to recover too much is no better than to recover too little.
        """
        distance, other_distance = (np.abs(1 - self._recovered_shares(k)) for k in (key, other))
        return _make_interval(other_distance - distance, self._n_prompts)

    def select_prompts(self, chosen: Bool[np.ndarray, " n"]) -> Losses:
        """The same trials on some of the prompts."""
        by_trial = {key: values[chosen] for key, values in self.by_trial.items()}
        return Losses(by_trial, self.seed)

    def check_behaviour(self, metric: str) -> None:
        """Refuse a model that does no better than the zero point.

        Raises:
            HypothesisError: there is nothing to recover.
        """
        model, nothing = self.mean_loss(MODEL).mean, self.mean_loss(RANDOM_PROMPTS).mean
        if not nothing > model:
            raise HypothesisError(
                f"The model's loss by {metric} is {model:.4g}, that of the logits of random other "
                f"prompts {nothing:.4g}: there is no behaviour to explain. Use prompts that the "
                "model gets right, or another metric."
            )

    @property
    def _n_prompts(self) -> int:
        return len(next(iter(self.by_trial.values())))

    def _recovered_shares(self, key: TrialKey) -> Float[np.ndarray, " resamples"]:
        model, nothing, trial = (self._mean_losses[k] for k in (MODEL, RANDOM_PROMPTS, key))
        with np.errstate(divide="ignore", invalid="ignore"):
            return (nothing - trial) / (nothing - model)


def average_worst_tenth(values: PerPrompt, seed: int) -> Interval:
    """The mean of the largest tenth of a sample, with its bootstrap interval.

    The tenth is chosen anew in each resample, so the interval knows that the worst prompts are
    chosen by looking at their losses.
    """
    ordered = np.sort(np.asarray(values, np.float64))
    n, tenth = len(ordered), max(1, len(ordered) // 10)
    draws = np.sort(np.random.default_rng(seed).integers(n, size=(500, n)), axis=1)[:, -tenth:]
    means = ordered[draws].mean(axis=1)  # [500, tenth] -> [500]
    return _make_interval(np.concatenate([[ordered[-tenth:].mean()], means]), n)


def _make_interval(values: Float[np.ndarray, " resamples"], n_prompts: int) -> Interval:
    """The first value, with the 95 % interval that the others, of resamples, make."""
    low, high = np.quantile(values[1:][np.isfinite(values[1:])], find_quantiles(n_prompts))
    return Interval(mean=float(values[0]), low=float(low), high=float(high))
