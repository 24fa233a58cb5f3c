"""Many patched runs at once: each computes what its patch changes, and no more.

Axes: ``rows`` are tokens of patched runs, packed as `PatchRows` says.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Bool, Float, Int

from circuitgraph.engine.batch import Inputs, take_scored
from circuitgraph.engine.readings.row_positions import place_rows, place_some
from circuitgraph.engine.readings.rows import PatchRows
from circuitgraph.engine.trace import trace_model
from circuitgraph.models.positions import Positions
from circuitgraph.models.transformer import Block, Edit, OtherTokens, Stream, Transformer
from circuitgraph.tasks.metrics import Metric, Targets

Kind = Literal["residual", "attention", "mlp", "head", "neuron"]
Part = Literal["attention", "mlp"]
Layer = np.int32 | Int[Array, ""]


class KeptRun(NamedTuple):
    """One side of the prompts, run once.

    Attributes:
        streams: before each layer and after the last one.
        z: what each head fetched. mlp_input: what each MLP reads; None without MLPs.
    """

    streams: Float[Array, "streams batch pos d"]
    z: Float[Array, "layers heads batch pos d_head"]
    mlp_input: Float[Array, "layers batch pos d"] | None


class HeldPart(NamedTuple):
    """What one part of each layer writes at the patched rows, in some layers.

    Attributes:
        first, end: the layers from ``first`` on, before ``end``.
    """

    values: Float[Array, "layers batch pos d"]
    first: Layer
    end: Layer


@eqx.filter_jit
def keep_run(model: Transformer, inputs: Inputs, start: Stream | None = None) -> KeptRun:
    """Run prompts, from ``start`` in place of their embedding if it is given."""
    keep = ["stream", "z", *(["mlp_input"] if model.blocks.mlp is not None else [])]
    with jax.default_matmul_precision("highest"):
        trace = trace_model(model, inputs, keep, start=start)
        assert trace.z is not None  # noqa: S101 - it was to be kept
        return KeptRun(trace.streams, trace.z, trace.mlp_input)


@eqx.filter_jit
def measure_kept(
    model: Transformer,
    inputs: Inputs,
    targets: Targets,
    run: KeptRun,
    metrics: tuple[Metric, ...],
) -> Float[Array, "metrics batch"]:
    """The metrics of an unpatched run."""
    with jax.default_matmul_precision("highest"):
        return _measure(model, take_scored(run.streams[-1], inputs.score_at), targets, metrics)


@eqx.filter_jit
def patch_layer(
    model: Transformer,
    base: KeptRun,
    donor: KeptRun,
    inputs: Inputs,
    layer: Layer,
    kind: Kind,
    numbers: Int[Array, " components"],
) -> Float[Array, "components batch pos d"]:
    """The stream after a layer in which one component has the donor's value.

    A layer mixes positions in what its heads fetch only, and this is kept. So each position of the
    result is that of a patch at this position alone, and of one at several as well.

    Args:
        kind: what is put in: what all heads fetched, or one; what the MLP writes; one hidden value.
        numbers: of heads or neurons; of other kinds one number, which is not looked at.
    """
    positions = model.positions_of(inputs.tokens, inputs.mask, inputs.positions)
    block, settings = model.select_layer(layer)
    x, z = base.streams[layer], base.z[layer]

    def read_mlp(run: KeptRun) -> Array:
        assert run.mlp_input is not None  # noqa: S101 - who asks has checked it
        return run.mlp_input[layer]

    def put_in(number: Int[Array, ""]) -> Stream:
        new_z, written = z, None
        if kind == "attention":
            new_z = donor.z[layer]
        elif kind == "head":
            new_z = z.at[number].set(donor.z[layer, number])
        elif block.mlp is not None and kind == "mlp":
            written = block.mlp(read_mlp(donor))
        elif block.mlp is not None:
            hidden, other = (block.mlp.read_hidden(read_mlp(run)) for run in (base, donor))
            written = block.mlp.write_hidden(hidden.at[..., number].set(other[..., number]))

        def edit(name: str, value: Array) -> Array:
            if name == "z":
                return new_z  # nothing reads what heads fetch here, so that it is not computed
            return value if written is None or name != "mlp" else written

        return block.run(x, positions, settings, edit=edit).after

    with jax.default_matmul_precision("highest"):
        return jax.lax.map(put_in, numbers)


@eqx.filter_jit
def write_parts(model: Transformer, run: KeptRun, name: Part) -> Float[Array, "layers batch pos d"]:
    """What the attention or the MLP of each layer adds to the stream in a run."""

    def write_layer(layer: tuple[Block, Array, Array | None]) -> Stream:
        block, z, mlp_input = layer
        if name == "attention" or block.mlp is None or mlp_input is None:
            return block.attention.combine_heads(z)
        return block.mlp(mlp_input)

    with jax.default_matmul_precision("highest"):
        return jax.lax.map(write_layer, (model.blocks, run.z, run.mlp_input))


@eqx.filter_jit
def run_patched(
    model: Transformer,
    inputs: Inputs,
    targets: Targets,
    base: KeptRun,
    patched: Float[Array, "components batch pos d"],
    rows: PatchRows,
    layer: Layer,
    metrics: tuple[Metric, ...],
    part: Part | None = None,
    held: HeldPart | None = None,
) -> Float[Array, "runs metrics batch"]:
    """The metrics of patched runs.

    Args:
        base: the run that is patched.
        patched: the stream before ``layer`` at every position, were it patched there.
        layer: the first one that is run; the number of layers if none is.
        part, held: what that part of layers writes at the patched rows, whatever it reads.
    """
    n_layers = model.spec.n_layers
    with jax.default_matmul_precision("highest"):
        queries, keys = place_rows(model, inputs, rows)
        x = take_scored(base.streams[layer], rows.token)
        index = jnp.arange(x.shape[0])[:, None]
        put_in = patched[rows.component[None], index, rows.token]  # [batch, rows, d]
        x = jnp.where(rows.is_patched[..., None], put_in, x)

        def run_layer(number: Array, x: Stream) -> Stream:
            block, settings = model.select_layer(number)
            others = OtherTokens(base.streams[number], keys)
            edit = _hold_part(part, held, number, rows.token, rows.is_patched)
            return block.run(x, queries, settings, others=others, edit=edit).after

        x = jax.lax.fori_loop(layer, n_layers - 1, run_layer, x)
        # of the last layer only scored rows are needed: [batch, runs * scored]
        at = jnp.maximum(rows.scored.reshape(len(x), -1), 0)
        token, is_patched = (
            jnp.take_along_axis(each, at, axis=1) for each in (rows.token, rows.is_patched)
        )
        edit = _hold_part(part, held, jnp.asarray(n_layers - 1), token, is_patched)
        final = jax.lax.cond(
            layer < n_layers,
            lambda: _run_last_layer(model, base, x, at, (queries, keys), edit),
            lambda: take_scored(x, at),
        )
        final = final.reshape(*rows.scored.shape, -1)  # [batch, runs, scored, d]
        own = take_scored(base.streams[-1], inputs.score_at)[:, None]
        final = jnp.where(rows.scored[..., None] >= 0, final, own)
        return jax.lax.map(
            lambda each: _measure(model, each, targets, metrics), jnp.moveaxis(final, 1, 0)
        )


def _run_last_layer(
    model: Transformer,
    base: KeptRun,
    x: Stream,
    at: Int[Array, "batch some"],
    positions: tuple[Positions, Positions],
    edit: Edit,
) -> Float[Array, "batch some d"]:
    """Some rows after the last layer; they look at all rows, and not at themselves once more."""
    last = model.spec.n_layers - 1
    block, settings = model.select_layer(last)
    queries, keys = place_some(*positions, at)
    others = OtherTokens(jnp.concatenate([base.streams[last], x], axis=1), keys)
    return block.run(take_scored(x, at), queries, settings, others=others, edit=edit).after


def _hold_part(
    part: Part | None,
    held: HeldPart | None,
    number: Int[Array, ""],
    token: Int[Array, "batch some"],
    is_patched: Bool[Array, "batch some"],
) -> Edit:
    """The edit of one layer that puts in what is held."""

    def edit(name: str, value: Array) -> Array:
        if held is None or name != part:
            return value
        inside = is_patched & (held.first <= number) & (number < held.end)
        return jnp.where(inside[..., None], take_scored(held.values[number], token), value)

    return edit


def _measure(
    model: Transformer,
    final: Float[Array, "batch scored d"],
    targets: Targets,
    metrics: tuple[Metric, ...],
) -> Float[Array, "metrics batch"]:
    logits = model.unembed(final)
    values = [metric.measure(logits, targets) for metric in metrics]
    return jnp.stack([value.astype(jnp.float32) for value in values])
