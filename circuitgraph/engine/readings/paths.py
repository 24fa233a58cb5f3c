"""Path patching: senders reach receivers with corrupted values, and everything else is as before.

Two runs for each patch. The first gives what the receivers read: heads keep their clean values,
senders have corrupted ones, and MLPs on the way keep theirs or answer to what the senders write.
The second is a masked run whose absent edges carry the values of the first: all edges into the
receivers are absent, all others are kept.
"""

from __future__ import annotations

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Bool, Float

from circuitgraph.engine.ablation import Background
from circuitgraph.engine.batch import Batch, Inputs, take_scored
from circuitgraph.engine.grid import Grid, join_layers, split_by_layer
from circuitgraph.engine.masked.forward import (
    compute_full_logits,
    compute_masked_logits,
    compute_writer_values,
)
from circuitgraph.engine.trace import Trace, trace_model
from circuitgraph.engine.values import Values
from circuitgraph.models.transformer import Transformer
from circuitgraph.tasks.metrics import Metric

Nodes = Float[Array, "writers batch pos d"]


class PlainRuns(NamedTuple):
    """Both sides of a batch, run once: what every writer adds, and the metric."""

    clean: Nodes
    corrupted: Nodes
    clean_values: Float[Array, " batch"]
    corrupted_values: Float[Array, " batch"]


@eqx.filter_jit
def run_both_sides(model: Transformer, batch: Batch, metric: Metric) -> PlainRuns:
    """Run pairs of prompts plainly; both sides are measured by the clean side's targets."""
    assert batch.corrupted is not None  # noqa: S101 - prompts are checked before
    with jax.default_matmul_precision("highest"):
        clean, corrupted = (
            compute_writer_values(model, side).nodes for side in (batch.inputs, batch.corrupted)
        )
        logits = [compute_full_logits(model, side) for side in (batch.inputs, batch.corrupted)]
        targets = batch.targets._replace(full_logits=logits[0])
        return PlainRuns(clean, corrupted, *(metric.measure(each, targets) for each in logits))


@eqx.filter_jit
def run_path_patches(
    model: Transformer,
    batch: Batch,
    runs: PlainRuns,
    grid: Grid,
    senders: Bool[Array | np.ndarray, "patches writers"],
    kept: Float[Array | np.ndarray, " edges"] | None,
    metric: Metric,
    through_mlps: bool,
) -> Float[Array, "patches batch"]:
    """The metric of each prompt under each patch.

    Args:
        senders: which writers send corrupted values, by patch.
        kept: 0 for the edges into receivers, 1 for all others; None where the logits are the only
            receiver, so that nothing comes after it and one run is enough.
        through_mlps: MLPs between senders and receivers answer to what the senders write; else
            they keep their clean values, and only direct edges carry the change.
    """

    def run_patch(sends: Bool[Array, " writers"]) -> Float[Array, " batch"]:
        first = jnp.where(sends[:, None, None, None], runs.corrupted, runs.clean)
        frozen = _run_frozen(model, batch.inputs, first, sends) if through_mlps else None
        if kept is None and frozen is not None:
            logits = model.unembed(take_scored(frozen.final, batch.inputs.score_at))
            return metric.measure(logits, batch.targets)
        if frozen is not None:
            first = _put_mlps(model, first, sends, frozen)
        background = Background.of(model, Values.of_nodes(first))
        if kept is None:
            logits = model.unembed(take_scored(background.final, batch.inputs.score_at))
        else:
            logits = compute_masked_logits(model, jnp.asarray(kept), grid, background, batch.inputs)
        return metric.measure(logits, batch.targets)

    with jax.default_matmul_precision("highest"):
        targets = batch.targets._replace(full_logits=compute_full_logits(model, batch.inputs))
        batch = batch._replace(targets=targets)
        return jax.lax.map(run_patch, jnp.asarray(senders))


def _run_frozen(
    model: Transformer, inputs: Inputs, first: Nodes, sends: Bool[Array, " writers"]
) -> Trace:
    """The run in which heads write what they are told to, and MLPs that are no senders respond."""
    n_layers, n_heads = model.spec.n_layers, model.spec.n_heads
    embed, by_layer = split_by_layer(first, n_layers)
    attention = by_layer[:, :n_heads].sum(1) + model.blocks.attention.constant[:, None, None, :]

    def keep_frozen(own: tuple[Array, Array, Array], name: str, value: Array) -> Array:
        frozen, mlp_sent, mlp_sending = own
        if name == "attention":
            return frozen
        return jnp.where(mlp_sending, mlp_sent, value) if name == "mlp" else value

    layer_data = (attention, by_layer[:, -1], _find_sending_mlps(sends, n_layers))
    return trace_model(
        model, inputs, ["mlp_input"], start=embed, edit=keep_frozen, layer_data=layer_data
    )


def _put_mlps(
    model: Transformer, first: Nodes, sends: Bool[Array, " writers"], frozen: Trace
) -> Nodes:
    """The values with those of MLPs that are no senders as a frozen run has them."""
    n_layers, n_heads = model.spec.n_layers, model.spec.n_heads
    embed, by_layer = split_by_layer(first, n_layers)
    mlps = jax.lax.map(lambda layer: layer[0](layer[1]), (model.blocks.mlp, frozen.mlp_input))
    mlps = jnp.where(_find_sending_mlps(sends, n_layers), by_layer[:, -1], mlps)
    return join_layers(embed, jnp.concatenate([by_layer[:, :n_heads], mlps[:, None]], axis=1))


def _find_sending_mlps(
    sends: Bool[Array, " writers"], n_layers: int
) -> Bool[Array, "layers 1 1 1"]:
    """Which layers' MLPs, the last writers of their layers, are senders; the embedding is first."""
    return sends[1:].reshape(n_layers, -1)[:, -1, None, None, None]
