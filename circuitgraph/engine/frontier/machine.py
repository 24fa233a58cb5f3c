"""Running a schedule: only what changes is computed, from the values of what does not. Pure
functions.

Axes: ``lanes`` are candidates side by side; ``pos`` all positions. A node's value is what it
    differs from its
replacement by (before a post-norm: the value itself), as in `masked`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, Int

from circuitgraph.engine.frontier.schedule import Table
from circuitgraph.engine.masked.forward import Background, Inputs, scored, writer_values
from circuitgraph.models.attention import Attention
from circuitgraph.models.positions import Place, Settings
from circuitgraph.models.transformer import Block, Transformer
from circuitgraph.tasks.metrics import Metric, Targets


class Values(NamedTuple):
    """Of every node, its value everywhere and where it is scored; the first is out of date where it
    is not needed.
    """

    everywhere: Float[Array, "nodes batch pos d"]
    scored: Float[Array, "nodes batch d"]


class Ground(NamedTuple):
    """What no mask changes.

    Attributes:
        bases: what the readers get without any edge, and in the clean run, in the order of
            `Wiring`; the last is zero.
        replaced: each node's replacement; zero for those before a post-norm.
        place, queries: where all tokens stand, and the scored ones.
        score_at: the scored position.
    """

    bases: Values
    replaced: Float[Array, "nodes one_or_batch one_or_pos d"]
    place: Place
    queries: Place
    score_at: Int[Array, " batch"]


@eqx.filter_jit
def clean_ground(
    model: Transformer, inputs: Inputs, background: Background
) -> tuple[Ground, Values]:
    """The ground of a chunk of prompts, and every node's value in the clean run."""
    with jax.default_matmul_precision("highest"):
        written, raw = writer_values(model, inputs), raw_values(model, inputs)
        clean = Background.of(model, written)
        shape = written.shape[1:]
        zero = jnp.zeros((1, *shape), written.dtype)
        streams = [
            part for b in (background, clean) for part in (b.into_heads, b.into_mlp, b.final[None])
        ]
        bases = jnp.concatenate([*(jnp.broadcast_to(s, (len(s), *shape)) for s in streams), zero])
        values = jnp.concatenate([written - background.writers, raw])
        replaced = jnp.pad(background.writers, [(0, len(raw)), (0, 0), (0, 0), (0, 0)])
    at, place = inputs.score_at, model.place(inputs.tokens, inputs.mask, inputs.positions)
    ground = Ground(Values(bases, scored(bases, at)), replaced, place, place.queries_at(at), at)
    return ground, Values(values, scored(values, at))


def raw_values(model: Transformer, inputs: Inputs) -> Float[Array, "raws batch pos d"]:
    """What each head writes into its layer's post-norm; nothing where there is none."""
    embed = model.embed(inputs.tokens, inputs.positions)
    if model.spec.post_norm is None:
        return jnp.zeros((0, *embed.shape), embed.dtype)
    where = model.place(inputs.tokens, inputs.mask, inputs.positions)

    def layer(x: Array, xs: tuple) -> tuple[Array, Array]:
        block, own = xs
        mixed = block.attention.mix(x[None], x[None], x[None], where, own)
        raw = jax.vmap(block.attention.written)(mixed, jnp.arange(len(mixed)))
        after = x + block.attention.output(mixed)
        return after if block.mlp is None else after + block.mlp(
            x if model.spec.parallel else after
        ), raw

    _, raw = jax.lax.scan(layer, embed, model.layers())
    return raw.reshape(-1, *embed.shape)


class _Sources(NamedTuple):
    """Where the inputs of one kind of step come from: at all positions, or at the scored ones."""

    bases: Array
    shared: Array
    slots: Array | None


def _common(table: Table, sources: _Sources, step: Int[Array, ""], j: int) -> Array:
    """The part of an input that all candidates share."""
    return _plus(
        sources.bases[table.base[step, j]], sources.shared, table.reads, table.shared[step, j]
    )


def _plus(total: Array, rows: Array, reads: Array | np.ndarray, part: Array | np.ndarray) -> Array:
    """``total`` and the rows that a part of ``reads`` (its start and length) names, added one by
    one.
    """
    start, n = part
    return jax.lax.fori_loop(0, n, lambda i, total: total + rows[reads[start + i]], total)


def _whole(table: Table, sources: _Sources, step: Int[Array, ""], j: int) -> Array:
    """An input of every candidate, with an axis of lanes; of one lane where there are no slots."""
    common = _common(table, sources, step, j)[None]
    if sources.slots is None:
        return common
    every = jnp.broadcast_to(common, sources.slots.shape[1:])
    return _plus(every, sources.slots, table.reads, table.slots[step, j])


def _through(
    project: Callable[[Array], Array], table: Table, sources: _Sources, step: Int[Array, ""], j: int
) -> Float[Array, "lanes batch pos d_head"]:
    """An input's projection; computed once where all candidates share the input."""
    lanes, slots = jax.vmap(project), sources.slots
    if slots is None:
        return lanes(_whole(table, sources, step, j))

    def once() -> Array:
        y = lanes(_common(table, sources, step, j)[None])
        return jnp.broadcast_to(y, (slots.shape[1], *y.shape[1:]))

    return jax.lax.cond(
        table.slots[step, j, 1] == 0, once, lambda: lanes(_whole(table, sources, step, j))
    )


class _Machine(NamedTuple):
    """The model and the ground under one table's steps; ``where`` holds the places of the values to
    compute.
    """

    model: Transformer
    ground: Ground
    table: Table
    wide: bool

    def block(self, step: Int[Array, ""]) -> tuple[Block, Settings]:
        blocks, own = self.model.layers()
        layer = self.table.layer[step]
        return jax.tree.map(lambda a: a[layer], (blocks, own))

    def value(self, step: Int[Array, ""], at: _Sources, everywhere: _Sources) -> Array:
        """A step's value. Its queries (or an MLP's input) are read from ``at``, keys and values
        from ``everywhere``.
        """
        kinds = [self._head, self._mlp if self.model.blocks.mlp is not None else self._head]
        kinds += [self._share] if self.model.spec.post_norm is not None else []
        branches = [lambda kind=kind: kind(step, at, everywhere) for kind in kinds]
        return jax.lax.switch(self.table.kind[step], branches)

    def _head(self, step: Int[Array, ""], at: _Sources, everywhere: _Sources) -> Array:
        (block, own), head = self.block(step), self.table.head[step]
        attention: Attention = block.attention
        place, queries = self.ground.place, self.ground.place if self.wide else self.ground.queries

        def query(x: Array) -> Array:
            x = x if self.wide else x[:, None]
            return attention.queries(x[None], queries, own, head)[0]

        q = _through(query, self.table, at, step, 0)
        k = _through(
            lambda x: attention.keys(x[None], place, own, head)[0], self.table, everywhere, step, 1
        )
        v = _through(lambda x: attention.values(x[None], head)[0], self.table, everywhere, step, 2)

        def written(q: Array, k: Array, v: Array) -> Array:
            return attention.written(
                attention.look(q[None], k[None], v[None], queries, own, head)[0], head
            )

        k, v = (jnp.broadcast_to(x, (len(q), *x.shape[1:])) for x in (k, v))
        value = jax.vmap(written)(q, k, v)
        value = value if self.wide else value[:, :, 0]
        return value if self.model.spec.post_norm is not None else value - self._replaced(step)

    def _mlp(self, step: Int[Array, ""], at: _Sources, everywhere: _Sources) -> Array:
        del everywhere
        block, _ = self.block(step)
        assert block.mlp is not None  # noqa: S101 - there is no such step without one
        return block.mlp(_whole(self.table, at, step, 0)) - self._replaced(step)

    def _share(self, step: Int[Array, ""], at: _Sources, everywhere: _Sources) -> Array:
        del everywhere
        block, _ = self.block(step)
        own, whole = (_whole(self.table, at, step, j) for j in (0, 1))
        return block.attention.share(own, whole) - self._replaced(step)

    def _replaced(self, step: Int[Array, ""]) -> Array:
        replaced = self.ground.replaced[self.table.node[step]]
        if self.wide:
            return replaced
        batch = (len(self.ground.score_at), *replaced.shape[1:])
        return (
            replaced[:, 0]
            if replaced.shape[1] == 1
            else scored(jnp.broadcast_to(replaced, batch), self.ground.score_at)
        )


@eqx.filter_jit(donate="all-except-first")
def run_settling(fixed: tuple[Transformer, Ground, Table, Table], values: Values) -> Values:
    """Every node of the two tables computed in place. ``values`` is used up."""
    model, ground, everywhere, at_scored = fixed
    wide, narrow = (
        _Machine(model, ground, table, wide)
        for table, wide in ((everywhere, True), (at_scored, False))
    )

    def anywhere(step: Array, values: Values) -> Values:
        sources = _Sources(ground.bases.everywhere, values.everywhere, None)
        value, node = wide.value(step, sources, sources)[0], everywhere.node[step]
        return Values(
            values.everywhere.at[node].set(value),
            values.scored.at[node].set(scored(value, ground.score_at)),
        )

    def where_scored(step: Array, values: Values) -> Values:
        at = _Sources(ground.bases.scored, values.scored, None)
        value = narrow.value(step, at, _Sources(ground.bases.everywhere, values.everywhere, None))[
            0
        ]
        return values._replace(scored=values.scored.at[at_scored.node[step]].set(value))

    with jax.default_matmul_precision("highest"):
        values = jax.lax.fori_loop(0, everywhere.n, anywhere, values)
        return jax.lax.fori_loop(0, at_scored.n, where_scored, values)


@eqx.filter_jit
def run_settled(
    model: Transformer,
    ground: Ground,
    logits: Table,
    values: Values,
    targets: Targets,
    metric: Metric,
) -> Float[Array, " batch"]:
    """The metric of settled values."""
    with jax.default_matmul_precision("highest"):
        final = _whole(logits, _Sources(ground.bases.scored, values.scored, None), jnp.int32(0), 0)
        return metric_values(model, final[0], targets, metric)


class Candidates(NamedTuple):
    """Inputs to try for one reader: which nodes each candidate's input adds to ``base``."""

    rows: Float[Array, "groups lanes nodes"]
    n_groups: np.int32
    base: np.int32


@eqx.filter_jit
def run_candidates(
    model: Transformer,
    ground: Ground,
    values: Values,
    tables: tuple[Table, Table, Table],
    candidates: Candidates,
    targets: Targets,
    metric: Metric,
    wide: bool,
    n_slots: tuple[int, int],
) -> Float[Array, "groups lanes batch"]:
    """The metric of every candidate in the first groups; the rest stays zero and costs nothing.

    Args: wide, n_slots: as in `Schedule`.
    """
    everywhere, at_scored, logits = tables

    def inputs(rows: Array, bases: Array, shared: Array) -> Array:
        added = rows.astype(shared.dtype) @ shared.reshape(len(shared), -1)
        return bases[candidates.base] + added.reshape(-1, *shared.shape[1:])

    def anywhere(step: Array, slots: Array) -> Array:
        sources = _Sources(ground.bases.everywhere, values.everywhere, slots)
        value = _Machine(model, ground, everywhere, True).value(step, sources, sources)
        return slots.at[everywhere.slot[step]].set(value)

    def where_scored(step: Array, slots: Array, all_slots: Array | None) -> Array:
        at = _Sources(ground.bases.scored, values.scored, slots)
        keys = _Sources(ground.bases.everywhere, values.everywhere, all_slots)
        value = _Machine(model, ground, at_scored, False).value(step, at, keys)
        return slots.at[at_scored.slot[step]].set(value)

    def group(i: Array, found: Array) -> Array:
        rows, all_slots = candidates.rows[i], None
        lanes = len(rows)
        if wide:
            x = inputs(rows, ground.bases.everywhere, values.everywhere)
            all_slots = jnp.zeros((n_slots[0], *x.shape), x.dtype).at[0].set(x)
            all_slots = jax.lax.fori_loop(0, everywhere.n, anywhere, all_slots)
            first = scored(all_slots, ground.score_at)
        else:
            first = inputs(rows, ground.bases.scored, values.scored)[None]
        slots = jnp.zeros((sum(n_slots), lanes, *first.shape[2:]), first.dtype)
        slots = slots.at[: len(first)].set(first)
        slots = jax.lax.fori_loop(
            0, at_scored.n, lambda step, s: where_scored(step, s, all_slots), slots
        )
        final = _whole(logits, _Sources(ground.bases.scored, values.scored, slots), jnp.int32(0), 0)
        return found.at[i].set(jax.vmap(lambda x: metric_values(model, x, targets, metric))(final))

    with jax.default_matmul_precision("highest"):
        start = jnp.zeros((*candidates.rows.shape[:2], len(targets.answer)), jnp.float32)
        return jax.lax.fori_loop(0, candidates.n_groups, group, start)


def metric_values(
    model: Transformer, final: Float[Array, "batch d"], targets: Targets, metric: Metric
) -> Float[Array, " batch"]:
    """The metric of final residual streams; only the columns of the unembedding that it looks at
    are computed.
    """
    if not metric.columns_only:
        return metric.function(model.logits(final), targets)
    first, distractor = jnp.zeros_like(targets.answer), targets.distractor
    tokens = [targets.answer] if distractor is None else [targets.answer, distractor]
    logits = model.logits_of(final, jnp.stack(tokens, axis=-1))
    return metric.function(
        logits, Targets(first, None if distractor is None else first + 1, logits)
    )
