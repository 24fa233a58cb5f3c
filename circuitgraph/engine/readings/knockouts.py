"""Runs in which some heads, channels of heads and hidden neurons write nothing."""

from __future__ import annotations

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

from circuitgraph.engine.batch import Batch, take_scored
from circuitgraph.engine.trace import trace_model
from circuitgraph.models.spec import Spec
from circuitgraph.models.transformer import Transformer
from circuitgraph.tasks.metrics import Metric


class Kept(NamedTuple):
    """What values are multiplied with at all positions: 1 where they stay, 0 where they go.

    Attributes:
        z: of what heads fetch, channel by channel.
        hidden: of what the MLPs' output weights read; None in models without such values.
    """

    z: Float[np.ndarray | Array, "*layers heads batch d_head"]
    hidden: Float[np.ndarray | Array, "*layers batch d_mlp"] | None


def keep_all(spec: Spec, n_prompts: int) -> Kept:
    """Nothing is knocked out."""
    z = np.ones((spec.n_layers, spec.n_heads, n_prompts, spec.d_head), np.float32)
    if spec.d_mlp is None or spec.experts is not None:
        return Kept(z, None)
    return Kept(z, np.ones((spec.n_layers, n_prompts, spec.d_mlp), np.float32))


def knock_out(kept: Kept, name: str, value: Array) -> Array:
    """The edit of a layer; ``kept`` is its own."""
    if name == "z":
        return value * jnp.asarray(kept.z, value.dtype)[:, :, None]
    if name != "hidden" or kept.hidden is None:
        return value
    return value * jnp.asarray(kept.hidden, value.dtype)[:, None]


@eqx.filter_jit
def run_knocked_out(
    model: Transformer, batch: Batch, metrics: tuple[Metric, ...], kept: Kept
) -> Float[Array, "metrics batch"]:
    """Metrics of clean prompts, each with knock-outs of its own."""
    with jax.default_matmul_precision("highest"):
        trace = trace_model(model, batch.inputs, edit=knock_out, layer_data=kept)
        logits = model.unembed(take_scored(trace.final, batch.inputs.score_at))
        return jnp.stack([metric.measure(logits, batch.targets) for metric in metrics])
