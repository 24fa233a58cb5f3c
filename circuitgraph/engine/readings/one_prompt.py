"""One prompt, looked at closely: where each head attends, and what each writer says at the end."""

from __future__ import annotations

from typing import NamedTuple

import equinox as eqx
import jax
from jax import Array
from jaxtyping import Float

from circuitgraph.engine.batch import Inputs, take_scored
from circuitgraph.engine.trace import trace_model
from circuitgraph.models.transformer import Transformer


class PromptRun(NamedTuple):
    """What a run of one prompt shows.

    Attributes:
        pattern: where each head attends.
        embed, writers: what the embedding, each head and then the MLP of a layer add to the stream
            at the last scored position, behind the final norm: its divisor is that of the whole.
    """

    pattern: Float[Array, "layers heads queries keys"]
    embed: Float[Array, " d"]
    writers: Float[Array, "layers slots d"]


@eqx.filter_jit
def run_prompt(model: Transformer, inputs: Inputs) -> PromptRun:
    """The clean run of the one prompt of ``inputs``."""
    with jax.default_matmul_precision("highest"):
        trace = trace_model(model, inputs, ["pattern", "writers"])
        assert trace.pattern is not None  # noqa: S101 - both were to be kept
        assert trace.writers is not None  # noqa: S101
        final, embed, writers = (
            take_scored(x, inputs.score_at)[..., 0, -1, :]
            for x in (trace.final, trace.embed, trace.writers)
        )
        norm = model.final_norm
        if norm is not None:
            embed, writers = (norm.apply_to_part(part, final) for part in (embed, writers))
        return PromptRun(trace.pattern[:, :, 0], embed, writers)
