"""The engine's compiled programs.

Parameters are arguments, never closed over, or they would become constants of the programs.
"""

from __future__ import annotations

from collections.abc import Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Bool, Float, Int

from circuitgraph.engine.ablation import Ablation, Background
from circuitgraph.engine.batch import Batch, Inputs
from circuitgraph.engine.grid import Grid
from circuitgraph.engine.masked.forward import (
    compute_errors,
    compute_full_logits,
    compute_masked_logits,
    compute_writer_values,
)
from circuitgraph.engine.masked.gradient import compute_losses_and_gradient
from circuitgraph.engine.trace import trace_model
from circuitgraph.engine.tuning import PATCHED_AT_ONCE
from circuitgraph.engine.values import Values
from circuitgraph.errors import DataError
from circuitgraph.models.transformer import Transformer
from circuitgraph.tasks.metrics import Metric, Targets


@eqx.filter_jit
def run_full(model: Transformer, inputs: Inputs) -> Float[Array, "batch scored vocab"]:
    with jax.default_matmul_precision("highest"):
        return compute_full_logits(model, inputs)


@eqx.filter_jit
def run_everywhere(model: Transformer, inputs: Inputs) -> Float[Array, "batch pos vocab"]:
    with jax.default_matmul_precision("highest"):
        return model(inputs.tokens, inputs.mask, inputs.positions)


@eqx.filter_jit
def run_streams(model: Transformer, inputs: Inputs) -> Float[Array, "layers_and_one batch pos d"]:
    """The residual stream before each layer and after the last, heads taken together."""
    with jax.default_matmul_precision("highest"):
        trace = trace_model(model, inputs, ["stream"])
    assert trace.stream is not None  # noqa: S101 - it was to be kept
    return jnp.concatenate([trace.stream, trace.final[None]])


@eqx.filter_jit
def run_writers(model: Transformer, inputs: Inputs) -> Values:
    with jax.default_matmul_precision("highest"):
        return compute_writer_values(model, inputs)


@eqx.filter_jit
def run_errors(model: Transformer, inputs: Inputs) -> Float[Array, "layers batch pos d"]:
    with jax.default_matmul_precision("highest"):
        return compute_errors(model, inputs)


@eqx.filter_jit
def run_background(model: Transformer, inputs: Inputs, ablation: Ablation) -> Background:
    with jax.default_matmul_precision("highest"):
        written = compute_writer_values(model, inputs)
        return Background.of(model, ablation.replace_values(written, inputs.mask))


@eqx.filter_jit
def run_shared_background(
    model: Transformer,
    parts: Sequence[Values],
    mask: Bool[Array, "batch pos"],
    ablation: Ablation,
    n_pos: int,
) -> Background:
    """One background from the written values of all reference prompts, which come in parts.

    Raises:
        DataError: the reference prompts are too short for positional means.
    """
    with jax.default_matmul_precision("highest"):
        # [writers, batch, ...]: the parts' prompts side by side
        written = jax.tree.map(lambda *arrays: jnp.concatenate(arrays, axis=1), *parts)
        replacement = ablation.replace_values(written, mask)
    longest = replacement.nodes.shape[2]
    if 1 < longest < n_pos:
        raise DataError(
            f"The reference prompts have at most {longest} tokens, the prompts up "
            f"to {n_pos}: there is no mean for the positions beyond. Use longer reference "
            "prompts, or ablation 'mean'."
        )
    return Background.of(model, replacement.map_arrays(lambda array: array[:, :, :n_pos]))


@eqx.filter_jit
def run_masks(
    model: Transformer,
    masks: Float[Array, "groups lanes edges"],
    n_groups: np.int32 | Int[Array, ""],
    grid: Grid,
    batch: Batch,
    metric: Metric,
) -> Float[Array, "groups lanes batch"]:
    """The metric under the masks of the first ``n_groups`` groups; the rest stays zero."""

    def run_mask(mask: Float[Array, " edges"]) -> Float[Array, " batch"]:
        return metric.measure(_compute_batch_logits(model, mask, grid, batch), batch.targets)

    def run_group(
        i: Int[Array, ""], values: Float[Array, "groups lanes batch"]
    ) -> Float[Array, "groups lanes batch"]:
        # lanes of a group side by side, groups one after the other
        return values.at[i].set(jax.vmap(run_mask)(masks[i]))

    with jax.default_matmul_precision("highest"):
        start = jnp.zeros((*masks.shape[:2], batch.n_prompts), jnp.float32)
        return jax.lax.fori_loop(0, n_groups, run_group, start)


@eqx.filter_jit
def run_metrics(
    model: Transformer,
    mask: Float[Array, " edges"],
    grid: Grid,
    batch: Batch,
    metrics: tuple[Metric, ...],
) -> Float[Array, "metrics batch"]:
    """Several metrics under one mask, from one run."""
    with jax.default_matmul_precision("highest"):
        logits = _compute_batch_logits(model, mask, grid, batch)
        return jnp.stack(
            [metric.measure(logits, batch.targets).astype(jnp.float32) for metric in metrics]
        )


@eqx.filter_jit
def run_losses_and_gradient(
    model: Transformer, mask: Float[Array, " edges"], grid: Grid, batch: Batch, metric: Metric
) -> tuple[Float[Array, " batch"], Float[Array, " edges"]]:
    """The loss of each example, and the gradient of their sum."""

    assert batch.background is not None  # noqa: S101 - an experiment makes it before
    with jax.default_matmul_precision("highest"):
        return compute_losses_and_gradient(
            model,
            mask,
            grid,
            batch.background,
            batch.inputs,
            lambda logits: metric.loss(logits, batch.targets),
            batch.errors,
        )


@eqx.filter_jit
def run_patched_edges(
    model: Transformer,
    masks: Float[Array, "batch edges"],
    grid: Grid,
    batch: Batch,
    metric: Metric,
) -> Float[Array, "two batch"]:
    """The metric of each prompt as it is, and under its own mask; no ablation is asked.

    Args:
        masks: one for each prompt; absent edges carry what they carry on the corrupted side.
    """

    def run_prompt(case: tuple[Array, Inputs, Inputs]) -> Float[Array, "scored vocab"]:
        mask, clean, corrupted = case
        # [pos] -> [1, pos]: a masked run has an axis of prompts
        clean, corrupted = (jax.tree.map(lambda a: a[None], side) for side in (clean, corrupted))
        background = Background.of(model, compute_writer_values(model, corrupted))
        return compute_masked_logits(model, mask, grid, background, clean)[0]

    with jax.default_matmul_precision("highest"):
        full = compute_full_logits(model, batch.inputs)
        cases = (masks, batch.inputs, batch.corrupted)
        patched = jax.lax.map(run_prompt, cases, batch_size=PATCHED_AT_ONCE)
        targets = batch.targets._replace(full_logits=full)
        return jnp.stack(
            [metric.measure(logits, targets).astype(jnp.float32) for logits in (full, patched)]
        )


@eqx.filter_jit
def run_metric(
    metric: Metric, logits: Float[Array, "batch vocab"], targets: Targets
) -> Float[Array, " batch"]:
    """The metric of logits that were computed before, at one position of each prompt."""
    return metric.measure(logits[:, None], targets)


def _compute_batch_logits(
    model: Transformer, mask: Float[Array, " edges"], grid: Grid, batch: Batch
) -> Float[Array, "batch scored vocab"]:
    assert batch.background is not None  # noqa: S101 - an experiment makes it before
    return compute_masked_logits(model, mask, grid, batch.background, batch.inputs, batch.errors)
