"""Metrics: from the logits at the scored positions to one number per example.

Each is one function with a decorator. Searches minimise a loss: the metric, with its sign turned
where higher is better (`Metric.loss`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, Int

from circuitgraph.registry import Registry, read_summary


class Targets(NamedTuple):
    """What logits are compared with.

    A metric's function gets one row for each scored position of each prompt; the engine keeps
    prompts and scored positions as two axes, and `Metric.measure` puts them together.

    Attributes:
        answer: None where the prompts have no answers.
        full_logits: logits of the whole model on the clean prompt.
        right, wrong: all right and all wrong answers, filled up with -1, where there is more than
            one.
        token_weights: where the answers are several tokens: 1 for each token of a prompt's answer,
            0 for what fills up.
        position_weights: where several positions are scored: one divided by their number, 0 for
            what fills up.
    """

    answer: Int[Array, "*rows"] | None
    distractor: Int[Array, "*rows"] | None
    full_logits: Float[Array, "*rows vocab"] | None
    right: Int[Array, "*rows right"] | None = None
    wrong: Int[Array, "*rows wrong"] | None = None
    token_weights: Float[Array, "batch scored"] | None = None
    position_weights: Float[Array, "batch scored"] | None = None


Numbers = TypeVar("Numbers", bound=Array | np.ndarray)
Logits = Float[Array, "rows vocab"]
Values = Float[Array, " rows"]
OverTokens = Literal["sum", "product"]
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

    Attributes:
        over_tokens: what the values of the tokens of one answer make together; None if nothing.
    """

    name: str
    function: MetricFunction
    higher_is_better: bool
    needs_distractor: bool
    differentiable: bool = True
    flat_at_full: bool = False
    columns_only: bool = False
    needs_answer: bool = True
    over_tokens: OverTokens | None = None
    is_share: bool = False

    @property
    def description(self) -> str:
        """The summary of the function's docstring."""
        return read_summary(self.function)

    def measure(
        self, logits: Float[Array, "batch scored vocab"], targets: Targets
    ) -> Float[Array, " batch"]:
        """The metric of each prompt: its function at every scored position, put together.

        Always computed in float32 at least, of logits in any precision.

        Over several positions this is the mean; over the tokens of one answer, each after the
        answer's tokens before it, it is their sum or product (`over_tokens`).
        """
        logits = logits.astype(jnp.promote_types(logits.dtype, jnp.float32))
        n_prompts, n_scored = logits.shape[:2]
        rows = jax.tree.map(lambda x: x.reshape(n_prompts * n_scored, *x.shape[2:]), targets)
        values = self.function(logits.reshape(n_prompts * n_scored, -1), rows)
        values = values.reshape(n_prompts, n_scored)
        if targets.position_weights is not None:
            return _sum_weighted(values, targets.position_weights)
        if targets.token_weights is None:
            return values[:, 0]
        if self.over_tokens == "product":
            return jnp.where(targets.token_weights > 0, values, 1.0).prod(axis=1)
        return _sum_weighted(values, targets.token_weights)

    def loss(
        self, logits: Float[Array, "batch scored vocab"], targets: Targets
    ) -> Float[Array, " batch"]:
        """The metric turned so that lower is better."""
        return self.to_loss(self.measure(logits, targets))

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
    needs_answer: bool = True,
    over_tokens: OverTokens | None = None,
    is_share: bool = False,
) -> Callable[[MetricFunction], MetricFunction]:
    """Register a function from logits and targets to one value per row as a metric.

    Args:
        higher_is_better, needs_distractor, differentiable, flat_at_full, columns_only,
            needs_answer, over_tokens, is_share: as in `Metric`.
    """

    def decorate(function: MetricFunction) -> MetricFunction:
        kind = Metric(
            name,
            function,
            higher_is_better,
            needs_distractor,
            differentiable,
            flat_at_full,
            columns_only,
            needs_answer,
            over_tokens,
            is_share,
        )
        metrics.add(name, kind)
        return function

    return decorate


def _sum_weighted(
    values: Float[Array, "batch scored"], weights: Float[Array, "batch scored"]
) -> Float[Array, " batch"]:
    # a value that fills up may be anything, even NaN
    return jnp.where(weights > 0, values * weights, 0.0).sum(axis=1)


def _own_answer(targets: Targets) -> Int[Array, " rows"]:
    if targets.answer is None:
        raise ValueError("this metric needs answers")
    return targets.answer


def _right_answers(targets: Targets) -> Int[Array, "rows right"]:
    return _own_answer(targets)[:, None] if targets.right is None else targets.right


def _wrong_answers(targets: Targets) -> Int[Array, "rows wrong"]:
    if targets.wrong is not None:
        return targets.wrong
    if targets.distractor is None:
        raise ValueError("this metric needs distractors")
    return targets.distractor[:, None]


def _sum_over(values: Logits, tokens: Int[Array, "rows n"]) -> Values:
    """Sum of the values of some tokens; -1 counts nothing. [rows, vocab] -> [rows]."""
    picked = jnp.take_along_axis(values, jnp.maximum(tokens, 0), axis=-1)
    return jnp.sum(jnp.where(tokens >= 0, picked, 0.0), axis=-1)


def _highest_of(values: Logits, tokens: Int[Array, "rows n"]) -> Values:
    """Highest value of some tokens; -1 counts nothing. [rows, vocab] -> [rows]."""
    picked = jnp.take_along_axis(values, jnp.maximum(tokens, 0), axis=-1)
    return jnp.max(jnp.where(tokens >= 0, picked, -jnp.inf), axis=-1)


def _take_answer(values: Logits, targets: Targets) -> Values:
    """The value of each row's answer: [rows, vocab] -> [rows]."""
    return jnp.take_along_axis(values, _own_answer(targets)[:, None], axis=-1)[:, 0]


@metric("logit", higher_is_better=True, columns_only=True, over_tokens="sum")
def logit(logits: Logits, targets: Targets) -> Values:
    """Logit of the answer."""
    return _take_answer(logits, targets)


@metric(
    "logit_difference",
    higher_is_better=True,
    needs_distractor=True,
    columns_only=True,
    over_tokens="sum",
)
def logit_difference(logits: Logits, targets: Targets) -> Values:
    """Logit of the answer minus logit of the distractor (Wang et al. 2022)."""
    if targets.distractor is None:
        raise ValueError("logit_difference needs distractors")
    wrong = jnp.take_along_axis(logits, targets.distractor[:, None], axis=-1)[:, 0]
    return _take_answer(logits, targets) - wrong


@metric("log_probability", higher_is_better=True, over_tokens="sum")
def log_probability(logits: Logits, targets: Targets) -> Values:
    """Natural logarithm of the answer's probability."""
    return _take_answer(jax.nn.log_softmax(logits), targets)


@metric("probability", higher_is_better=True, over_tokens="product")
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


@metric("cross_entropy", higher_is_better=False, over_tokens="sum")
def cross_entropy(logits: Logits, targets: Targets) -> Values:
    """Cross-entropy of the answer, in nats: minus its log-probability."""
    return -log_probability(logits, targets)


@metric("kl", higher_is_better=False, flat_at_full=True, needs_answer=False, over_tokens="sum")
def kl(logits: Logits, targets: Targets) -> Values:
    """KL(full model || circuit) in nats, summed over the vocabulary (Conmy et al. 2023)."""
    assert targets.full_logits is not None  # noqa: S101 - the engine runs the whole model first
    full, circuit = jax.nn.log_softmax(targets.full_logits), jax.nn.log_softmax(logits)
    return jnp.sum(jnp.exp(full) * (full - circuit), axis=-1)


@metric(
    "accuracy", higher_is_better=True, differentiable=False, is_share=True, over_tokens="product"
)
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
