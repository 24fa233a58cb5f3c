"""Answers to prompts as they are: metrics, and what the model says, in one run."""

from __future__ import annotations

from typing import NamedTuple

import equinox as eqx
import jax
from jax import Array
from jaxtyping import Float, Int

from circuitgraph.engine.batch import Batch, take_scored
from circuitgraph.engine.trace import trace_model
from circuitgraph.models.transformer import Transformer
from circuitgraph.tasks.metrics import Metric


class AnswerRun(NamedTuple):
    """Values of a metric, and the likeliest token at the first scored position."""

    values: Float[Array, " batch"]
    says: Int[Array, " batch"]


@eqx.filter_jit
def run_answers(model: Transformer, batch: Batch, metric: Metric) -> AnswerRun:
    """Run clean prompts; not for metrics that compare with another run."""
    with jax.default_matmul_precision("highest"):
        final = trace_model(model, batch.inputs).final
        logits = model.unembed(take_scored(final, batch.inputs.score_at))
    return AnswerRun(metric.measure(logits, batch.targets), logits[:, 0].argmax(-1))
