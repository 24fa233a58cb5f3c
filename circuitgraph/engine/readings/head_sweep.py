"""Every head knocked out by itself: all heads of a layer, or of all layers, in one run."""

from __future__ import annotations

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Bool, Float, Int

from circuitgraph.engine.batch import Batch, Inputs, make_batch, take_scored
from circuitgraph.engine.masked.runs import cut_prompts
from circuitgraph.engine.trace import trace_model
from circuitgraph.models.positions import Positions
from circuitgraph.models.spec import Spec
from circuitgraph.models.transformer import Stream, Transformer
from circuitgraph.tasks.metrics import Metric
from circuitgraph.tasks.prompts import Prompts

_RUN_BYTES = 2**30  # of the values that are alive in one launch, estimated
_COPIES = 320  # of a token, at most, beside the prompt in one launch
_READ_AT_ONCE = 8  # copies whose logits are alive


class HeadSweep(NamedTuple):
    """Metrics of the whole model, and without each head."""

    whole: Float[np.ndarray, "metrics batch"]
    without: Float[np.ndarray, "layers heads metrics batch"]


class _SweepRun(NamedTuple):
    whole: Float[Array, "metrics batch"]
    without: Float[Array, "layers heads metrics batch"]


def sweep_everywhere(
    model: Transformer, prompts: Prompts, metrics: tuple[Metric, ...]
) -> HeadSweep:
    """Zero what each head fetches at all positions.

    The heads of a layer stand side by side as prompts, and begin where the layer begins.
    """
    at_once = _count_prompts(model.spec, prompts, model.spec.n_heads, prompts.mask.shape[1])
    parts = [
        _sweep_everywhere(model, make_batch(prompts, rows), metrics)
        for rows in cut_prompts(prompts, at_once)
    ]
    return _join_parts(parts)


def sweep_scored(model: Transformer, prompts: Prompts, metrics: tuple[Metric, ...]) -> HeadSweep:
    """Zero what each head fetches at the scored position, of which there is one, and it is causal.

    Other positions do not notice. So a run holds the prompt once, and for each head a copy of the
    scored token, which sees what that token sees, and itself instead of it.
    """
    spec = model.spec
    n_layers = max(1, min(spec.n_layers, _COPIES // spec.n_heads))
    length = prompts.mask.shape[1] + n_layers * spec.n_heads
    launches = []
    for rows in cut_prompts(prompts, _count_prompts(spec, prompts, 1, length)):
        batch, runs = make_batch(prompts, rows), []
        for start in range(0, spec.n_layers, n_layers):
            # of a last launch that is not full, the last layer stands again and again
            layers = np.minimum(np.arange(start, start + n_layers), spec.n_layers - 1)
            runs.append(_sweep_scored(model, batch, metrics, jnp.asarray(layers)))
        without = jnp.concatenate([run.without for run in runs])[: spec.n_layers]
        launches.append(_SweepRun(runs[0].whole, without))
    return _join_parts(launches)


def _join_parts(parts: list[_SweepRun]) -> HeadSweep:
    return HeadSweep(
        *(np.concatenate(part, axis=-1).astype(np.float64) for part in zip(*parts, strict=True))
    )


def _count_prompts(spec: Spec, prompts: Prompts, rows: int, length: int) -> int:
    """How many prompts one launch takes, each as that many rows of that many tokens."""
    of_token = 3 * (spec.d_mlp or 0) + 6 * spec.d_model + 2 * spec.n_heads * length
    logits = 2 * prompts.n_scored * spec.d_vocab_out
    return max(1, _RUN_BYTES // (4 * rows * (length * of_token + logits)))


@eqx.filter_jit
def _sweep_everywhere(model: Transformer, batch: Batch, metrics: tuple[Metric, ...]) -> _SweepRun:
    n_heads, n_prompts = model.spec.n_heads, batch.n_prompts
    with jax.default_matmul_precision("highest"):
        trace = trace_model(model, batch.inputs, ["stream"])
        assert trace.stream is not None  # noqa: S101 - it was to be kept
        rows = batch.map_prompts(lambda axis, x: jnp.concatenate([x] * n_heads, axis))
        # head h is silent in the rows of copy h: [heads, rows, 1, 1]
        silent = jnp.repeat(jnp.eye(n_heads, dtype=bool), n_prompts, axis=1)[..., None, None]
        inputs = rows.inputs
        positions = model.positions_of(inputs.tokens, inputs.mask, inputs.positions)

        def sweep_layer(layer: tuple[Int[Array, ""], Array]) -> Array:
            first, stream = layer

            def run_layer(number: Array, x: Stream) -> Stream:
                block, settings = model.select_layer(number)

                def silence(name: str, value: Array) -> Array:
                    is_here = silent & (number == first)
                    return jnp.where(is_here, 0, value) if name == "z" else value

                return block.run(x, positions, settings, edit=silence).after

            start = jnp.concatenate([stream] * n_heads)
            final = jax.lax.fori_loop(first, model.spec.n_layers, run_layer, start)
            values = _measure_stream(model, rows, metrics, final)
            return jnp.moveaxis(values.reshape(len(metrics), n_heads, n_prompts), 0, 1)

        whole = _measure_stream(model, batch, metrics, trace.final)
        return _SweepRun(
            whole, jax.lax.map(sweep_layer, (jnp.arange(model.spec.n_layers), trace.stream))
        )


def _measure_stream(
    model: Transformer, batch: Batch, metrics: tuple[Metric, ...], final: Float[Array, "rows pos d"]
) -> Float[Array, "metrics rows"]:
    logits = model.unembed(take_scored(final, batch.inputs.score_at))
    return jnp.stack([metric.measure(logits, batch.targets) for metric in metrics])


@eqx.filter_jit
def _sweep_scored(
    model: Transformer,
    batch: Batch,
    metrics: tuple[Metric, ...],
    layers: Int[Array, " some"],
) -> _SweepRun:
    spec, inputs = model.spec, batch.inputs
    n_pos, n_copies = inputs.tokens.shape[1], len(layers) * spec.n_heads
    length = n_pos + n_copies
    copies = jnp.arange(n_copies)
    # the head that copy (i, h) does without is h of the i-th of these layers
    silent = jnp.zeros((spec.n_layers, spec.n_heads, length), bool)
    silent = silent.at[jnp.repeat(layers, spec.n_heads), copies % spec.n_heads, n_pos + copies].set(
        True
    )

    def silence(own: Bool[Array, "heads pos"], name: str, value: Array) -> Array:
        return jnp.where(own[:, None, :, None], 0, value) if name == "z" else value

    with jax.default_matmul_precision("highest"):
        longer = _append_copies(inputs, n_copies)
        positions = _place_copies(model, inputs, longer)
        final = trace_model(
            model, longer, edit=silence, layer_data=silent, positions=positions
        ).final

        def measure(x: Float[Array, "batch d"]) -> Float[Array, "metrics batch"]:
            logits = model.unembed(x[:, None])
            return jnp.stack([metric.measure(logits, batch.targets) for metric in metrics])

        own = take_scored(final, inputs.score_at)[:, 0]
        copied = jnp.moveaxis(final[:, n_pos:], 1, 0)  # [copies, batch, d]
        without = jax.lax.map(measure, copied, batch_size=min(_READ_AT_ONCE, n_copies))
        shape = (len(layers), spec.n_heads, len(metrics), batch.n_prompts)
        return _SweepRun(measure(own), without.reshape(shape))


def _append_copies(inputs: Inputs, n: int) -> Inputs:
    """The prompts with copies of their scored tokens behind them, which no mask counts."""

    def append(x: Array) -> Array:
        copied = jnp.take_along_axis(x, inputs.score_at, axis=1)
        return jnp.concatenate([x, jnp.repeat(copied, n, axis=1)], axis=1)

    none = jnp.zeros((len(inputs.mask), n), bool)
    mask = jnp.concatenate([inputs.mask, none], axis=1)
    return inputs._replace(
        tokens=append(inputs.tokens), mask=mask, positions=append(inputs.positions)
    )


def _place_copies(model: Transformer, inputs: Inputs, longer: Inputs) -> Positions:
    """Each copy sees the tokens before the scored one, and itself; no token of the prompt sees
    any.
    """
    at, n_pos = inputs.score_at, inputs.tokens.shape[1]
    n_copies = longer.tokens.shape[1] - n_pos
    short, long = (
        model.positions_of(each.tokens, each.mask, each.positions) for each in (inputs, longer)
    )
    seen = short.queries_at(at)
    is_own = jnp.arange(n_pos) == at[:, :, None]  # [batch, 1, pos]
    own = (seen.visible & is_own).any(-1, keepdims=True)  # [batch, 1, 1]
    between = jnp.eye(n_copies, dtype=bool) & own  # [batch, copies, copies]

    def join(top: Array, copied: Array, last: Array) -> Array:
        """[batch, pos, pos], one row of it, [batch, copies, copies] -> [batch, all, all]."""
        right = jnp.zeros((len(top), n_pos, n_copies), top.dtype)
        below = jnp.repeat(copied, n_copies, axis=1)
        upper, lower = (jnp.concatenate(pair, 2) for pair in ((top, right), (below, last)))
        return jnp.concatenate([upper, lower], 1)

    return long._replace(
        visible=join(short.visible, seen.visible & ~is_own, between),
        back=join(short.back, seen.back, jnp.zeros(between.shape, short.back.dtype)),
    )
