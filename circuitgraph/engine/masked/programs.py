"""The engine's compiled programs. Parameters are arguments, never closed over, or they would become
constants.
"""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, Int

from circuitgraph.engine.ablation import Ablation
from circuitgraph.engine.masked.forward import (
    Background,
    Cells,
    Inputs,
    full_logits,
    masked_logits,
    writer_values,
)
from circuitgraph.models.transformer import Transformer
from circuitgraph.tasks.metrics import Metric, Targets

Batch = tuple[Inputs, Targets, Background]


@eqx.filter_jit
def run_full(model: Transformer, inputs: Inputs) -> Float[Array, "batch vocab"]:
    with jax.default_matmul_precision("highest"):
        return full_logits(model, inputs)


@eqx.filter_jit
def run_everywhere(model: Transformer, inputs: Inputs) -> Float[Array, "batch pos vocab"]:
    with jax.default_matmul_precision("highest"):
        return model(inputs.tokens, inputs.mask, inputs.positions)


@eqx.filter_jit
def run_writers(model: Transformer, inputs: Inputs) -> Float[Array, "writers batch pos d"]:
    with jax.default_matmul_precision("highest"):
        return writer_values(model, inputs)


@eqx.filter_jit
def run_background(model: Transformer, inputs: Inputs, ablation: Ablation) -> Background:
    with jax.default_matmul_precision("highest"):
        return Background.of(model, ablation.function(writer_values(model, inputs), inputs.mask))


@eqx.filter_jit
def run_masks(
    model: Transformer,
    masks: Float[Array, "groups lanes edges"],
    n_groups: np.int32 | Int[Array, ""],
    cells: Cells,
    chunk: Batch,
    metric: Metric,
) -> Float[Array, "groups lanes batch"]:
    """The metric under the masks of the first ``n_groups`` groups; the rest stays zero and costs
    nothing.
    """
    inputs, targets, background = chunk

    def one(mask: Float[Array, " edges"]) -> Float[Array, " batch"]:
        return metric.function(masked_logits(model, mask, cells, background, inputs), targets)

    def group(
        i: Int[Array, ""], found: Float[Array, "groups lanes batch"]
    ) -> Float[Array, "groups lanes batch"]:
        return found.at[i].set(jax.vmap(one)(masks[i]))

    with jax.default_matmul_precision("highest"):
        start = jnp.zeros((*masks.shape[:2], len(targets.answer)), jnp.float32)
        return jax.lax.fori_loop(0, n_groups, group, start)


@eqx.filter_jit
def run_metrics(
    model: Transformer,
    mask: Float[Array, " edges"],
    cells: Cells,
    chunk: Batch,
    metrics: tuple[Metric, ...],
) -> Float[Array, "metrics batch"]:
    """Several metrics under one mask, from one run."""
    inputs, targets, background = chunk
    with jax.default_matmul_precision("highest"):
        logits = masked_logits(model, mask, cells, background, inputs)
        return jnp.stack(
            [metric.function(logits, targets).astype(jnp.float32) for metric in metrics]
        )


@eqx.filter_jit
def run_losses_and_gradient(
    model: Transformer, mask: Float[Array, " edges"], cells: Cells, chunk: Batch, metric: Metric
) -> tuple[Float[Array, " batch"], Float[Array, " edges"]]:
    """The loss of each example, and the gradient of their sum."""
    inputs, targets, background = chunk

    def total(mask: Float[Array, " edges"]) -> tuple[Float[Array, ""], Float[Array, " batch"]]:
        losses = metric.loss(masked_logits(model, mask, cells, background, inputs), targets)
        return losses.sum(), losses

    with jax.default_matmul_precision("highest"):
        gradient, losses = jax.grad(total, has_aux=True)(mask)
        return losses, gradient
