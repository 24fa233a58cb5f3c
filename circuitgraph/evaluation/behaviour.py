"""Whether the whole model has the behaviour at all: its own answers, before any search."""

from __future__ import annotations

from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int

from circuitgraph.catalog.records import Interval
from circuitgraph.engine.batch import check_tokens, make_targets
from circuitgraph.engine.masked.runs import run_whole_model
from circuitgraph.evaluation.intervals import estimate_proportion
from circuitgraph.models.language_model import LanguageModel
from circuitgraph.tasks.metrics import Metric
from circuitgraph.tasks.prompts import Prompts


@dataclass(frozen=True)
class Behaviour:
    """What the untouched model says on clean prompts.

    Attributes:
        top: the likeliest token at each scored position.
        solved: whether it is right at every scored position; None where the prompts have no
            answers.
    """

    top: Int[np.ndarray, "prompts scored"]
    solved: Bool[np.ndarray, " prompts"] | None

    @property
    def accuracy(self) -> Interval | None:
        """The share of prompts that are solved, with Wilson's 95 % interval."""
        if self.solved is None:
            return None
        return estimate_proportion(int(self.solved.sum()), len(self.solved))


def observe_behaviour(model: LanguageModel, prompts: Prompts) -> Behaviour:
    """Run the untouched model on clean prompts.

    Raises:
        DataError: a prompt is longer than the model's context, or has a token too high.
    """
    check_tokens(model.spec, prompts)
    logits = run_whole_model(model.transformer, prompts)
    return Behaviour(logits.argmax(axis=-1), _find_solved(logits, prompts))


def _find_solved(
    logits: Float[np.ndarray, "prompts scored vocab"], prompts: Prompts
) -> Bool[np.ndarray, " prompts"] | None:
    """Whether no other token has a higher logit than the answer (than the best right one)."""
    if prompts.answer is None:
        return None
    # [prompts, scored, right answers]; -1 fills sets up
    right = prompts.answer.reshape(len(prompts), -1, 1)
    if prompts.right is not None:
        right = prompts.right[:, None, :]
    own = np.where(right >= 0, np.take_along_axis(logits, np.maximum(right, 0), axis=-1), -np.inf)
    best = own.max(axis=-1) >= logits.max(axis=-1)
    return best.all(axis=1)


def measure_logits(
    metric: Metric,
    logits: Float[np.ndarray, "prompts scored vocab"],
    full: Float[np.ndarray, "prompts scored vocab"],
    prompts: Prompts,
) -> Float[np.ndarray, " prompts"]:
    """The metric of each prompt.

    Args:
        full: logits of the model as it is.
    """
    targets = make_targets(prompts)._replace(full_logits=jnp.asarray(full))
    return np.asarray(metric.measure(jnp.asarray(logits), targets), np.float64)
