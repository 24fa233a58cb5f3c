"""Metrics: from the logits at the scored position to one number per example.

Each is one function with a decorator. Searches minimise a loss: the metric, with its sign turned
where higher is better (`Metric.loss`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, Int

from circuitgraph.registry import Registry, read_summary


class Targets(NamedTuple):
    """What logits are compared with.

    Attributes:
        full_logits: logits of the whole model on the clean prompt.
        right, wrong: all right and all wrong answers, filled up with -1, where there is more than
            one.
    """

    answer: Int[Array, " batch"]
    distractor: Int[Array, " batch"] | None
    full_logits: Float[Array, "batch vocab"] | None
    right: Int[Array, "batch right"] | None = None
    wrong: Int[Array, "batch wrong"] | None = None


Numbers = TypeVar("Numbers", bound=Array | np.ndarray)
Logits = Float[Array, "batch vocab"]
Values = Float[Array, " batch"]
MetricFunction = Callable[[Logits, Targets], Values]


@dataclass(frozen=True)
class Metric:
    """A named metric, whether higher is better, and what a search must know of its gradient.

    A metric that moves in jumps only is not ``differentiable``: its gradient is zero almost
    everywhere. A metric that measures the distance from the whole model is ``flat_at_full``: its
    gradient is zero there. A metric of the answer's and the distractor's logits alone is
    ``columns_only``: the other logits need not be computed. A metric ``is_share`` if its
    values lie between 0 and 1 and reach both: prompts that all have the same value then say little
    of other prompts, and its means have intervals that know it.
    """

    name: str
    function: MetricFunction
    higher_is_better: bool
    needs_distractor: bool
    differentiable: bool = True
    flat_at_full: bool = False
    columns_only: bool = False
    is_share: bool = False

    @property
    def description(self) -> str:
        """The summary of the function's docstring."""
        return read_summary(self.function)

    def loss(self, logits: Logits, targets: Targets) -> Values:
        """The metric turned so that lower is better."""
        values = self.function(logits, targets)
        return self.to_loss(values)

    def to_loss(self, values: Numbers) -> Numbers:
        """Values of the metric, or means of them, turned so that lower is better."""
        return -values if self.higher_is_better else values  # pyright: ignore[reportReturnType]


metrics: Registry[Metric] = Registry("metric", "circuitgraph.tasks")


def metric(
    name: str,
    *,
    higher_is_better: bool,
    needs_distractor: bool = False,
    differentiable: bool = True,
    flat_at_full: bool = False,
    columns_only: bool = False,
    is_share: bool = False,
) -> Callable[[MetricFunction], MetricFunction]:
    """Register a function from logits and targets to one value per example as a metric."""

    def decorate(function: MetricFunction) -> MetricFunction:
        kind = Metric(
            name,
            function,
            higher_is_better,
            needs_distractor,
            differentiable,
            flat_at_full,
            columns_only,
            is_share,
        )
        metrics.add(name, kind)
        return function

    return decorate


def _right_answers(targets: Targets) -> Int[Array, "batch right"]:
    return targets.answer[:, None] if targets.right is None else targets.right


def _wrong_answers(targets: Targets) -> Int[Array, "batch wrong"]:
    if targets.wrong is not None:
        return targets.wrong
    if targets.distractor is None:
        raise ValueError("this metric needs distractors")
    return targets.distractor[:, None]


def _sum_over(values: Logits, tokens: Int[Array, "batch n"]) -> Values:
    """Sum of the values of some tokens; -1 counts nothing. [batch, vocab] -> [batch]."""
    picked = jnp.take_along_axis(values, jnp.maximum(tokens, 0), axis=-1)
    return jnp.sum(jnp.where(tokens >= 0, picked, 0.0), axis=-1)


def _highest_of(values: Logits, tokens: Int[Array, "batch n"]) -> Values:
    """Highest value of some tokens; -1 counts nothing. [batch, vocab] -> [batch]."""
    picked = jnp.take_along_axis(values, jnp.maximum(tokens, 0), axis=-1)
    return jnp.max(jnp.where(tokens >= 0, picked, -jnp.inf), axis=-1)


def _take_answer(values: Logits, targets: Targets) -> Values:
    """The value of each prompt's answer: [batch, vocab] -> [batch]."""
    return jnp.take_along_axis(values, targets.answer[:, None], axis=-1)[:, 0]


@metric("logit", higher_is_better=True, columns_only=True)
def logit(logits: Logits, targets: Targets) -> Values:
    """Logit of the answer."""
    return _take_answer(logits, targets)


@metric("logit_difference", higher_is_better=True, needs_distractor=True, columns_only=True)
def logit_difference(logits: Logits, targets: Targets) -> Values:
    """Logit of the answer minus logit of the distractor (Wang et al. 2022)."""
    if targets.distractor is None:
        raise ValueError("logit_difference needs distractors")
    wrong = jnp.take_along_axis(logits, targets.distractor[:, None], axis=-1)[:, 0]
    return _take_answer(logits, targets) - wrong


@metric("log_probability", higher_is_better=True)
def log_probability(logits: Logits, targets: Targets) -> Values:
    """Natural logarithm of the answer's probability."""
    return _take_answer(jax.nn.log_softmax(logits), targets)


@metric("probability", higher_is_better=True)
def probability(logits: Logits, targets: Targets) -> Values:
    """Probability of the answer."""
    return _take_answer(jax.nn.softmax(logits), targets)


@metric("probability_difference", higher_is_better=True, needs_distractor=True)
def probability_difference(logits: Logits, targets: Targets) -> Values:
    """Probability of all right answers together minus that of all wrong ones (Hanna et al.
    2023).
    """
    probabilities = jax.nn.softmax(logits)
    right, wrong = _right_answers(targets), _wrong_answers(targets)
    return _sum_over(probabilities, right) - _sum_over(probabilities, wrong)


@metric("cross_entropy", higher_is_better=False)
def cross_entropy(logits: Logits, targets: Targets) -> Values:
    """Cross-entropy of the answer, in nats: minus its log-probability."""
    return -log_probability(logits, targets)


@metric("kl", higher_is_better=False, flat_at_full=True)
def kl(logits: Logits, targets: Targets) -> Values:
    """KL(full model || circuit) in nats, summed over the vocabulary (Conmy et al. 2023)."""
    assert targets.full_logits is not None  # noqa: S101 - the engine runs the whole model first
    full, circuit = jax.nn.log_softmax(targets.full_logits), jax.nn.log_softmax(logits)
    return jnp.sum(jnp.exp(full) * (full - circuit), axis=-1)


@metric("accuracy", higher_is_better=True, differentiable=False, is_share=True)
def accuracy(logits: Logits, targets: Targets) -> Values:
    """1 where no token has a higher logit than the answer (than the best right one, if there are
    several), else 0.
    """
    ranks = rank(logits, targets)
    return jnp.where(jnp.isnan(ranks), ranks, ranks == 0)


@metric("rank", higher_is_better=False, differentiable=False)
def rank(logits: Logits, targets: Targets) -> Values:
    """Number of tokens with a higher logit than the answer (the best right one, if there are
    several); 0 is best.
    """
    best = _highest_of(logits, _right_answers(targets))
    above = jnp.sum(logits > best[:, None], axis=-1).astype(logits.dtype)  # over the vocabulary
    # No logit is above NaN, but that is no success.
    return jnp.where(jnp.isnan(logits).any(axis=-1), jnp.nan, above)


@metric("reciprocal_rank", higher_is_better=True, differentiable=False, is_share=True)
def reciprocal_rank(logits: Logits, targets: Targets) -> Values:
    """1 / (rank + 1); 1 is best."""
    return 1.0 / (rank(logits, targets) + 1.0)
