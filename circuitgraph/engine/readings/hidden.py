"""Hidden values of MLPs: what every neuron is on every token."""

from __future__ import annotations

import equinox as eqx
import jax
from jax import Array
from jaxtyping import Float

from circuitgraph.engine.batch import Inputs
from circuitgraph.engine.trace import trace_model
from circuitgraph.models.norms import to_float32
from circuitgraph.models.transformer import Transformer


@eqx.filter_jit
def run_hidden(model: Transformer, inputs: Inputs) -> Float[Array, "layers batch pos d_mlp"]:
    """Run prompts, and keep what the output weights of every MLP read."""
    with jax.default_matmul_precision("highest"):
        trace = trace_model(model, inputs, ["hidden"])
    assert trace.hidden is not None  # noqa: S101 - it was to be kept
    return to_float32(trace.hidden)
