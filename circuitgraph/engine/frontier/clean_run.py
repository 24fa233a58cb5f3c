"""What the frontier takes from the clean run: every node's value, and what no mask changes.

A node's value is its difference to its replacement (before a post-norm: the value itself), as in
`masked`. A position is *moved* if some writer's value differs there from its replacement. Before
the first moved position of a prompt no mask changes anything, if attention looks back only; so the
frontier computes at the moved positions.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Bool, Float, Int

from circuitgraph.engine.ablation import Background
from circuitgraph.engine.batch import Inputs, take_scored, take_scored_values
from circuitgraph.engine.masked.forward import compute_writer_values
from circuitgraph.engine.trace import trace_model
from circuitgraph.engine.values import Values, subtract_values
from circuitgraph.models.positions import LayerSettings, Positions
from circuitgraph.models.transformer import Block, Transformer


class NodeValues(NamedTuple):
    """The value of every node and unit at the moved positions, and at the scored ones.

    ``everywhere`` is out of date for those that are needed at the scored positions only.
    """

    everywhere: Values
    scored: Values

    def map_prompts(self, function: Callable[[int, Array], Array]) -> NodeValues:
        """Call a function with each array and the number of its axis of prompts."""
        everywhere, scored = (part.map_arrays(lambda x: function(1, x)) for part in self)
        return NodeValues(everywhere, scored)


class Bases(NamedTuple):
    """Streams at the moved positions, and at the scored ones."""

    everywhere: Float[Array, "streams batch moved d"]
    scored: Float[Array, "streams batch scored d"]

    def map_prompts(self, function: Callable[[int, Array], Array]) -> Bases:
        """Call a function with each array and the number of its axis of prompts."""
        return Bases(function(1, self.everywhere), function(1, self.scored))


class PositionPlan(NamedTuple):
    """Which positions the frontier computes.

    Attributes:
        moved_at: positions that masks can change, in ascending order; a prompt with fewer than
            others repeats its last one.
        score_at: the scored positions.
        score_in: where in ``moved_at`` each scored position stands.
        keys_in: where in ``moved_at`` each position stands; -1 where no mask changes anything.
    """

    moved_at: Int[Array, "batch moved"]
    score_at: Int[Array, "batch scored"]
    score_in: Int[Array, "batch scored"]
    keys_in: Int[Array, "batch pos"]


class CleanRun(NamedTuple):
    """What no mask changes.

    Attributes:
        bases: what the readers get without any edge, then what they get in the clean run, both in
            the order of `Background.streams`; the last is zero.
        replaced: each node's and unit's replacement, [.., one_or_batch, one_or_moved, ..]; zero for
            nodes before a post-norm.
        queries, scored_queries: where the moved positions stand, and the scored ones.
        plan: which positions those are.
        keys, values: of every key-value head, for the positions that are not moved; None if all
            are.
    """

    bases: Bases
    replaced: Values
    queries: Positions
    scored_queries: Positions
    plan: PositionPlan
    keys: Float[Array, "layers kv_heads batch pos d_head"] | None
    values: Float[Array, "layers kv_heads batch pos d_head"] | None

    def map_prompts(self, function: Callable[[int, Array], Array]) -> CleanRun:
        """Call a function with each array and the number of its axis of prompts."""
        keys, values = (
            None if part is None else function(2, part) for part in (self.keys, self.values)
        )
        return CleanRun(
            self.bases.map_prompts(function),
            self.replaced.map_arrays(lambda x: function(1, x)),
            self.queries.map_prompts(function),
            self.scored_queries.map_prompts(function),
            PositionPlan(*(function(0, part) for part in self.plan)),
            keys,
            values,
        )


class CleanStreams(NamedTuple):
    """The clean run at all positions.

    Attributes:
        bases, values, replaced: as in `CleanRun` and `NodeValues`.
        moved: where any writer's value differs from its replacement.
    """

    bases: Float[Array, "streams batch pos d"]
    values: Values
    replaced: Values
    moved: Bool[Array, "batch pos"]


def run_clean(
    model: Transformer, inputs: Inputs, background: Background
) -> tuple[CleanRun, NodeValues]:
    """What no mask changes of some prompts, and every node's value in the clean run."""
    streams = _run_streams(model, inputs, background)
    moved = np.asarray(streams.moved) if model.spec.causal else np.ones(inputs.mask.shape, bool)
    mask = np.asarray(inputs.mask)
    plan = plan_positions(moved, mask, np.asarray(inputs.score_at))
    return _take_positions(model, inputs, streams, plan, not _is_everywhere(plan, mask))


def _is_everywhere(plan: PositionPlan, mask: Bool[np.ndarray, "batch pos"]) -> bool:
    """Whether every token of every prompt is computed, where it stands.

    It is not enough that one prompt needs all positions: another's first ones may not be moved.
    """
    is_wide = plan.moved_at.shape[1] == mask.shape[1]
    return is_wide and not ((np.asarray(plan.keys_in) < 0) & mask).any()


def plan_positions(
    moved: Bool[np.ndarray, "batch pos"],
    mask: Bool[np.ndarray, "batch pos"],
    score_at: Int[np.ndarray, "batch scored"],
) -> PositionPlan:
    """The positions to compute: from each prompt's first moved one to its end, and the scored ones.

    Args:
        moved: where any writer's value differs from its replacement.
        mask: True on real tokens.
    """
    wanted = np.maximum.accumulate(moved, axis=1) & mask
    np.put_along_axis(wanted, score_at, True, axis=1)
    counts = wanted.sum(axis=1)
    keys_in = np.where(wanted, wanted.cumsum(axis=1) - 1, -1)
    # wanted positions first, in their order; then the last of them again and again
    order = np.argsort(~wanted, axis=1, kind="stable")
    places = np.minimum(np.arange(counts.max()), counts[:, None] - 1)
    parts = (
        np.take_along_axis(order, places, axis=1),
        score_at,
        np.take_along_axis(keys_in, score_at, axis=1),
        keys_in,
    )
    return PositionPlan(*(jnp.asarray(part.astype(np.int32)) for part in parts))


@eqx.filter_jit
def _run_streams(model: Transformer, inputs: Inputs, background: Background) -> CleanStreams:
    with jax.default_matmul_precision("highest"):
        written, raw = compute_writer_values(model, inputs), compute_raw_values(model, inputs)
        clean = Background.of(model, written)
        zero = jnp.zeros_like(written.nodes[:1])
        # [streams without edges, clean streams, one that is zero; batch, pos, d]
        without_edges = jnp.broadcast_to(background.streams, clean.streams.shape)
        bases = jnp.concatenate([without_edges, clean.streams, zero])
        differences = subtract_values(written, background.writers)
        values = differences._replace(nodes=jnp.concatenate([differences.nodes, raw]))
        old = background.writers
        replaced = old._replace(nodes=jnp.pad(old.nodes, [(0, len(raw)), (0, 0), (0, 0), (0, 0)]))
        moved = (differences.nodes != 0).any((0, 3)) | (differences.units != 0).any(0)
    return CleanStreams(bases, values, replaced, moved)


@eqx.filter_jit
def _take_positions(
    model: Transformer,
    inputs: Inputs,
    streams: CleanStreams,
    plan: PositionPlan,
    keeps_keys: bool,
) -> tuple[CleanRun, NodeValues]:
    """The clean run at the positions of a plan, with the keys of all others if wanted."""
    positions = model.positions_of(inputs.tokens, inputs.mask, inputs.positions)
    keys, values = None, None
    if keeps_keys:
        into_heads = streams.bases[len(streams.bases) // 2 :][: model.spec.n_layers]
        keys, values = _project_clean_keys(model, into_heads, positions)

    def broadcast_prompts(x: Float[Array, "any one_or_batch pos *d"]) -> Array:
        return jnp.broadcast_to(x, (len(x), len(plan.moved_at), *x.shape[2:]))

    places = (plan.moved_at, plan.score_at)
    replaced = streams.replaced
    if replaced.nodes.shape[2] > 1:
        replaced = take_scored_values(replaced.map_arrays(broadcast_prompts), plan.moved_at)
    clean_run = CleanRun(
        bases=Bases(*(take_scored(streams.bases, at) for at in places)),
        replaced=replaced,
        queries=positions.queries_at(plan.moved_at),
        scored_queries=positions.queries_at(plan.score_at),
        plan=plan,
        keys=keys,
        values=values,
    )
    return clean_run, NodeValues(*(take_scored_values(streams.values, at) for at in places))


def _project_clean_keys(
    model: Transformer, into_heads: Float[Array, "layers batch pos d"], positions: Positions
) -> tuple[Array, Array]:
    """The clean keys and values of all heads, each [layers, kv_heads, batch, pos, d_head]."""

    def project_layer(layer: tuple[tuple[Block, LayerSettings], Array]) -> tuple[Array, Array]:
        (block, settings), x = layer
        attention = block.attention
        return attention.project_keys(x[None], positions, settings), attention.project_values(
            x[None]
        )

    with jax.default_matmul_precision("highest"):
        return jax.lax.map(project_layer, (model.stacked_layers(), into_heads))


def compute_raw_values(model: Transformer, inputs: Inputs) -> Float[Array, "raws batch pos d"]:
    """What each head writes into its layer's post-norm; nothing where there is none."""
    if model.spec.post_norm is None:
        embed = model.embed(inputs.tokens, inputs.positions)
        return jnp.zeros((0, *embed.shape), embed.dtype)
    raw = trace_model(model, inputs, ["raw_heads"]).raw_heads
    assert raw is not None  # noqa: S101 - it was to be kept
    return raw.reshape(-1, *raw.shape[2:])
