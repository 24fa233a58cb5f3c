"""Scores of neurons: how much what a neuron writes has to do with the answer, each one function.

Every score is a static one: it looks at one prompt's run as it is, and no neuron is taken away.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, Int

from circuitgraph.registry import Registry, read_summary

Scores = Float[Array, " neurons"]


class NeuronParts(eqx.Module):
    """What some neurons of a layer write in one prompt, as logits.

    The last norm is taken with the divisor that it has in the whole model's run, and without its
    bias, so that what neurons add to logits adds up.

    Attributes:
        before: logits of the stream to which the neurons add, before a soft cap.
        coefficients: each neuron's value m.
        per_one: what each neuron adds to the logits for each 1 of its value.
        lengths: of the row w that each neuron adds to the stream for each 1 of its value.
        answer: the token in question.
        cap: the model's soft cap of logits.
    """

    before: Float[Array, " vocab"]
    coefficients: Scores
    per_one: Float[Array, "neurons vocab"]
    lengths: Scores
    answer: Int[Array, ""]
    cap: float | None = eqx.field(static=True)

    @property
    def written(self) -> Float[Array, "neurons vocab"]:
        """What each neuron adds to the logits."""
        return self.coefficients[:, None] * self.per_one

    @property
    def log_before(self) -> Float[Array, ""]:
        """The answer's log-probability without what the neurons write."""
        return self._read_answer(self.before)

    @property
    def log_after(self) -> Scores:
        """The answer's log-probability with what one neuron writes."""
        return self._read_answer(self.before + self.written)

    @property
    def log_alone(self) -> Scores:
        """The answer's log-probability if the stream were what one neuron writes."""
        return self._read_answer(self.written)

    def _read_answer(self, logits: Float[Array, "*n vocab"]) -> Float[Array, "*n"]:
        if self.cap is not None:
            logits = self.cap * jnp.tanh(logits / self.cap)
        return logits[..., self.answer] - jax.nn.logsumexp(logits, axis=-1)


ScoreFunction = Callable[[NeuronParts], Scores]


@dataclass(frozen=True)
class NeuronScore:
    """A named score; neurons with higher ones are held to matter more."""

    name: str
    function: ScoreFunction

    @property
    def description(self) -> str:
        """The summary of the function's docstring."""
        return read_summary(self.function)


neuron_scores: Registry[NeuronScore] = Registry("score of neurons", "circuitgraph.engine.readings")


def neuron_score(name: str) -> Callable[[ScoreFunction], ScoreFunction]:
    """Register a function from what neurons write to a score of each."""

    def decorate(function: ScoreFunction) -> ScoreFunction:
        neuron_scores.add(name, NeuronScore(name, function))
        return function

    return decorate


INCREASE = "log-probability-increase"


@neuron_score(INCREASE)
def score_log_increase(parts: NeuronParts) -> Scores:
    """log P(x + m w) - log P(x) of the answer, x the stream before (Yu and Ananiadou 2024)."""
    return parts.log_after - parts.log_before


@neuron_score("log-probability")
def score_log_alone(parts: NeuronParts) -> Scores:
    """log P(m w): what the neuron says by itself."""
    return parts.log_alone


@neuron_score("probability-increase")
def score_increase(parts: NeuronParts) -> Scores:
    """P(x + m w) - P(x): as the log-probability increase, of probabilities."""
    return jnp.exp(parts.log_after) - jnp.exp(parts.log_before)


@neuron_score("norm")
def score_norm(parts: NeuronParts) -> Scores:
    """|w|: how long the neuron's row is, whatever the prompt."""
    return parts.lengths


@neuron_score("coefficient")
def score_coefficient(parts: NeuronParts) -> Scores:
    """|m|: how active the neuron is."""
    return jnp.abs(parts.coefficients)


@neuron_score("norm-times-coefficient")
def score_length_written(parts: NeuronParts) -> Scores:
    """|m| |w|: how much the neuron writes."""
    return jnp.abs(parts.coefficients) * parts.lengths


@neuron_score("rank")
def score_rank(parts: NeuronParts) -> Scores:
    """Minus the number of tokens whose logit the neuron raises more than the answer's."""
    own = parts.written[:, parts.answer]
    return -jnp.sum(parts.written > own[:, None], axis=1).astype(own.dtype)


@neuron_score("coefficient-times-logit")
def score_logit(parts: NeuronParts) -> Scores:
    """m (U w)_answer: what the neuron adds to the answer's logit."""
    return parts.written[:, parts.answer]
