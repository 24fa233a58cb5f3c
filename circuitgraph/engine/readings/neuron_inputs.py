"""What moves one neuron of an MLP: each head's part of what its input weights read."""

from __future__ import annotations

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, Int

from circuitgraph.engine.batch import Batch, take_scored
from circuitgraph.engine.trace import trace_model
from circuitgraph.models.transformer import Transformer


class NeuronInputs(NamedTuple):
    """Parts of a neuron's input at the scored position, with the divisor of the norm as it is.

    ``gate`` is None where MLPs have no gates. Heads of layers whose output the MLP does not read
    have zero. ``total_up``, ``total_gate``: what the whole stream adds; biases apart.
    """

    up: Float[Array, "layers heads batch"]
    gate: Float[Array, "layers heads batch"] | None
    total_up: Float[Array, " batch"]
    total_gate: Float[Array, " batch"] | None


@eqx.filter_jit
def run_neuron_inputs(
    model: Transformer,
    batch: Batch,
    layer: np.int32 | Int[Array, ""],
    neuron: np.int32 | Int[Array, ""],
) -> NeuronInputs:
    """Inner products of what heads write, normed, with the neuron's input weights."""
    at = batch.inputs.score_at
    with jax.default_matmul_precision("highest"):
        trace = trace_model(model, batch.inputs, ["heads", "mlp_input"])
        assert trace.heads is not None and trace.mlp_input is not None  # noqa: S101, PT018 - kept
        mlp = model.select_layer(layer)[0].mlp
        assert mlp is not None  # noqa: S101 - who asks for a neuron has checked it
        whole = take_scored(trace.mlp_input[layer], at)[:, 0]
        heads = take_scored(trace.heads, at)[..., 0, :]  # [layers, heads, batch, d]
        n_read = layer if model.spec.parallel else layer + 1
        is_read = jnp.arange(model.spec.n_layers)[:, None, None] < n_read

        def norm_part(part: Float[Array, "*n batch d"]) -> Float[Array, "*n batch d"]:
            return part if mlp.norm is None else mlp.norm.apply_to_part(part, whole)

        def project(
            weights: Float[Array, "d_mlp d"],
        ) -> tuple[Float[Array, "layers heads batch"], Float[Array, " batch"]]:
            parts = jnp.where(is_read, norm_part(heads) @ weights[neuron], 0.0)
            return parts, norm_part(whole) @ weights[neuron]

        up, total_up = project(mlp.w_in)
        if mlp.w_gate is None:
            return NeuronInputs(up, None, total_up, None)
        gate, total_gate = project(mlp.w_gate)
        return NeuronInputs(up, gate, total_up, total_gate)
