"""Runs in which units have other values: their logits, and how such a run goes on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import DTypeLike
from jaxtyping import Bool, Float, Int

from circuitgraph.engine.batch import Inputs, make_inputs, take_scored
from circuitgraph.engine.edits import Edits, make_no_edits, trace_edited
from circuitgraph.engine.trace import Trace
from circuitgraph.engine.unit_places import (
    UnitMap,
    UnitPlace,
    UnitValues,
    change_units,
    choose_rows,
    cut_rows,
)
from circuitgraph.models.norms import to_float32
from circuitgraph.models.transformer import Transformer

_LOGIT_BYTES = 2**28  # of one launch's logits


class UnitStep(NamedTuple):
    """What is done to the units of one place, for each row: a prompt under one strength.

    Attributes:
        times, plus: as of `UnitMap`; ``at``: where, elsewhere the values stay.
    """

    place: UnitPlace
    times: Float[np.ndarray, "rows units"]
    plus: Float[np.ndarray, "rows units"]
    at: Bool[np.ndarray, "rows pos units"]

    def make_map(self, rows: Int[np.ndarray, " n"], length: int, dtype: DTypeLike) -> UnitMap:
        """The map of some rows, for that many positions."""
        at = self.at[rows, :length]
        times = np.where(at, self.times[rows][:, None], 1.0)
        plus = np.where(at, self.plus[rows][:, None], 0.0)
        return UnitMap(*(jnp.asarray(part, dtype) for part in (times, plus)))


class SteeredRun(NamedTuple):
    """Logits at scored positions, and the values that the units of each step had."""

    logits: Float[np.ndarray, "rows scored vocab"]
    values: list[Float[np.ndarray, "rows pos units"]]

    def split(self, n: int) -> list[SteeredRun]:
        """The rows as ``n`` runs of equally many."""
        parts = [np.split(values, n) for values in self.values]
        logits = np.split(self.logits, n)
        return [SteeredRun(own, [part[i] for part in parts]) for i, own in enumerate(logits)]


def run_steered(
    model: Transformer,
    tokens: Int[np.ndarray, "rows pos"],
    mask: Bool[np.ndarray, "rows pos"],
    score_at: Int[np.ndarray, "rows *scored"],
    steps: Sequence[UnitStep],
) -> SteeredRun:
    """Run rows of tokens with their steps, some rows at a time. No steps: the model as it is.

    Args:
        steps: lowest place first; each reads what the steps before it made of the run.
    """
    score_at = score_at.reshape(len(tokens), -1)
    logits, values = [], [[] for _ in steps]
    dtype = jnp.promote_types(model.embedding.dtype, jnp.float32)
    row_bytes = 4 * score_at.shape[1] * model.spec.d_vocab_out
    at_once = min(choose_rows(model.spec, tokens.shape[1]), _LOGIT_BYTES // row_bytes)
    for rows, n in cut_rows(len(tokens), at_once):
        inputs = make_inputs(tokens[rows], mask[rows], score_at[rows])
        maps = [step.make_map(rows, tokens.shape[1], dtype) for step in steps]
        launch = _run_rows(model, inputs, [step.place for step in steps], maps)
        logits.append(np.asarray(launch[0])[:n])
        for kept, own in zip(values, launch[1], strict=True):
            kept.append(np.asarray(own)[:n])
    return SteeredRun(np.concatenate(logits), [np.concatenate(kept) for kept in values])


def continue_greedily(
    model: Transformer,
    tokens: Int[np.ndarray, "rows pos"],
    lengths: Int[np.ndarray, " rows"],
    steps: Sequence[UnitStep],
    n_new: int,
) -> Int[np.ndarray, "rows new"]:
    """The tokens by which each row goes on, each the likeliest after those before it.

    Args:
        tokens: with room for the new ones on the right of each row's ``lengths``.
    """
    tokens, own = tokens.copy(), np.arange(len(tokens))
    for n in range(n_new):
        last = lengths + n - 1
        mask = np.arange(tokens.shape[1]) <= last[:, None]
        run = run_steered(model, tokens, mask, last, steps)
        tokens[own, last + 1] = run.logits[:, 0].argmax(-1)
    return tokens[own[:, None], lengths[:, None] + np.arange(n_new)]


def _run_rows(
    model: Transformer, inputs: Inputs, places: Sequence[UnitPlace], maps: Sequence[UnitMap]
) -> tuple[Float[Array, "rows scored vocab"], list[UnitValues]]:
    """One launch: a run for each step and one with all of them, all by the same programs."""
    edits, values = make_no_edits(model, inputs), []
    for place, unit_map in zip(places, maps, strict=True):
        trace = _trace_run(model, inputs, edits)
        edits, changed = _change_place(model, trace, edits, place, unit_map)
        values.append(changed)
    return _score_run(model, inputs, edits), values


@eqx.filter_jit
def _trace_run(model: Transformer, inputs: Inputs, edits: Edits) -> Trace:
    with jax.default_matmul_precision("highest"):
        return trace_edited(model, inputs, edits)


@eqx.filter_jit
def _change_place(
    model: Transformer, trace: Trace, edits: Edits, place: UnitPlace, unit_map: UnitMap
) -> tuple[Edits, UnitValues]:
    with jax.default_matmul_precision("highest"):
        return change_units(model, trace, edits, place, unit_map)


@eqx.filter_jit
def _score_run(
    model: Transformer, inputs: Inputs, edits: Edits
) -> Float[Array, "rows scored vocab"]:
    with jax.default_matmul_precision("highest"):
        final = take_scored(trace_edited(model, inputs, edits).final, inputs.score_at)
        return to_float32(model.unembed(final))
