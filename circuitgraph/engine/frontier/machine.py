"""Running a schedule: only what changes is computed, from the values of what does not.

Pure functions. Axes: ``lanes`` are candidates side by side; ``pos`` all positions. A node's value
is its difference to its replacement (before a post-norm: the value itself), as in `masked`.
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

from circuitgraph.engine.ablation import Background
from circuitgraph.engine.batch import Inputs, take_scored
from circuitgraph.engine.frontier.schedule import StepTable
from circuitgraph.engine.masked.forward import compute_writer_values
from circuitgraph.engine.trace import trace_model
from circuitgraph.models.attention import Attention
from circuitgraph.models.positions import LayerSettings, Positions
from circuitgraph.models.transformer import Block, Transformer
from circuitgraph.tasks.metrics import Metric, Targets


class NodeValues(NamedTuple):
    """The value of every node at all positions, and at the scored position.

    ``everywhere`` is out of date for nodes that are needed at the scored position only.
    """

    everywhere: Float[Array, "nodes batch pos d"]
    scored: Float[Array, "nodes batch d"]

    def map_prompts(self, function: Callable[[int, Array], Array]) -> NodeValues:
        """Call a function with each array and the number of its axis of prompts."""
        return NodeValues(function(1, self.everywhere), function(1, self.scored))


class CleanRun(NamedTuple):
    """What no mask changes.

    Attributes:
        bases: what the readers get without any edge, then what they get in the clean run, both in
            the order of `Background.streams`; the last is zero.
        replaced: each node's replacement; zero for those before a post-norm.
        positions, queries: where all tokens stand, and the scored ones.
        score_at: the scored position.
    """

    bases: NodeValues
    replaced: Float[Array, "nodes one_or_batch one_or_pos d"]
    positions: Positions
    queries: Positions
    score_at: Int[Array, " batch"]

    def map_prompts(self, function: Callable[[int, Array], Array]) -> CleanRun:
        """Call a function with each array and the number of its axis of prompts."""
        return CleanRun(
            self.bases.map_prompts(function),
            function(1, self.replaced),
            self.positions.map_prompts(function),
            self.queries.map_prompts(function),
            function(0, self.score_at),
        )


@eqx.filter_jit
def run_clean(
    model: Transformer, inputs: Inputs, background: Background
) -> tuple[CleanRun, NodeValues]:
    """What no mask changes of some prompts, and every node's value in the clean run."""
    with jax.default_matmul_precision("highest"):
        written, raw = compute_writer_values(model, inputs), compute_raw_values(model, inputs)
        clean = Background.of(model, written)
        zero = jnp.zeros_like(written[:1])
        # [streams without edges, clean streams, one that is zero; batch, pos, d]
        without_edges = jnp.broadcast_to(background.streams, clean.streams.shape)
        bases = jnp.concatenate([without_edges, clean.streams, zero])
        values = jnp.concatenate([written - background.writers, raw])
        replaced = jnp.pad(background.writers, [(0, len(raw)), (0, 0), (0, 0), (0, 0)])
    at = inputs.score_at
    positions = model.positions_of(inputs.tokens, inputs.mask, inputs.positions)
    both = NodeValues(bases, take_scored(bases, at))
    clean_run = CleanRun(both, replaced, positions, positions.queries_at(at), at)
    return clean_run, NodeValues(values, take_scored(values, at))


def compute_raw_values(model: Transformer, inputs: Inputs) -> Float[Array, "raws batch pos d"]:
    """What each head writes into its layer's post-norm; nothing where there is none."""
    if model.spec.post_norm is None:
        embed = model.embed(inputs.tokens, inputs.positions)
        return jnp.zeros((0, *embed.shape), embed.dtype)
    raw = trace_model(model, inputs, ["raw_heads"]).raw_heads
    assert raw is not None  # noqa: S101 - it was to be kept
    return raw.reshape(-1, *raw.shape[2:])


class _Sources(NamedTuple):
    """Where the inputs of one kind of step come from: at all positions, or at the scored ones."""

    bases: Array
    shared: Array
    slots: Array | None


def _sum_shared_input(table: StepTable, sources: _Sources, step: Int[Array, ""], j: int) -> Array:
    """The part of an input that all candidates share."""
    return _add_rows(
        sources.bases[table.base[step, j]], sources.shared, table.reads, table.shared[step, j]
    )


def _add_rows(
    total: Array, rows: Array, reads: Array | np.ndarray, part: Array | np.ndarray
) -> Array:
    """Add to ``total`` the rows that a part of ``reads`` names, one by one.

    Args:
        part: start and length in ``reads``.
    """
    start, n = part
    return jax.lax.fori_loop(0, n, lambda i, total: total + rows[reads[start + i]], total)


def _sum_input(table: StepTable, sources: _Sources, step: Int[Array, ""], j: int) -> Array:
    """An input of every candidate, with an axis of lanes; of one lane where there are no slots."""
    common = _sum_shared_input(table, sources, step, j)[None]
    if sources.slots is None:
        return common
    every = jnp.broadcast_to(common, sources.slots.shape[1:])
    return _add_rows(every, sources.slots, table.reads, table.slots[step, j])


def _project_input(
    project: Callable[[Array], Array],
    table: StepTable,
    sources: _Sources,
    step: Int[Array, ""],
    j: int,
) -> Float[Array, "lanes batch pos d_head"]:
    """An input's projection; computed once where all candidates share the input."""
    lanes, slots = jax.vmap(project), sources.slots
    if slots is None:
        return lanes(_sum_input(table, sources, step, j))

    def project_once() -> Array:
        y = lanes(_sum_shared_input(table, sources, step, j)[None])
        return jnp.broadcast_to(y, (slots.shape[1], *y.shape[1:]))

    return jax.lax.cond(
        table.slots[step, j, 1] == 0,
        project_once,
        lambda: lanes(_sum_input(table, sources, step, j)),
    )


class _StepRunner(NamedTuple):
    """The model and the clean run under one table's steps.

    ``everywhere``: values are computed at every position; else at the scored one only.
    """

    model: Transformer
    clean_run: CleanRun
    table: StepTable
    everywhere: bool

    def select_layer(self, step: Int[Array, ""]) -> tuple[Block, LayerSettings]:
        return self.model.select_layer(self.table.layer[step])

    def compute_value(
        self, step: Int[Array, ""], inputs_from: _Sources, keys_from: _Sources
    ) -> Array:
        """A step's value.

        Args:
            inputs_from: where its queries, or an MLP's input, come from.
            keys_from: where its keys and values come from: always at every position.
        """
        kinds = [
            self._run_head,
            self._run_mlp if self.model.blocks.mlp is not None else self._run_head,
        ]
        kinds += [self._run_post_norm] if self.model.spec.post_norm is not None else []
        branches = [lambda kind=kind: kind(step, inputs_from, keys_from) for kind in kinds]
        return jax.lax.switch(self.table.kind[step], branches)

    def _run_head(self, step: Int[Array, ""], inputs_from: _Sources, keys_from: _Sources) -> Array:
        (block, settings), head = self.select_layer(step), self.table.head[step]
        attention: Attention = block.attention
        positions = self.clean_run.positions
        queries = positions if self.everywhere else self.clean_run.queries

        def project_query(x: Array) -> Array:
            x = x if self.everywhere else x[:, None]
            return attention.project_queries(x[None], queries, settings, head)[0]

        q = _project_input(project_query, self.table, inputs_from, step, 0)
        k = _project_input(
            lambda x: attention.project_keys(x[None], positions, settings, head)[0],
            self.table,
            keys_from,
            step,
            1,
        )
        v = _project_input(
            lambda x: attention.project_values(x[None], head)[0], self.table, keys_from, step, 2
        )

        def run_attention(q: Array, k: Array, v: Array) -> Array:
            return attention.head_output(
                attention.attend(q[None], k[None], v[None], queries, settings, head)[0], head
            )

        k, v = (jnp.broadcast_to(x, (len(q), *x.shape[1:])) for x in (k, v))
        # over lanes: [lanes, batch, queries, d]
        value = jax.vmap(run_attention)(q, k, v)
        value = value if self.everywhere else value[:, :, 0]
        return (
            value if self.model.spec.post_norm is not None else value - self._take_replacement(step)
        )

    def _run_mlp(self, step: Int[Array, ""], inputs_from: _Sources, keys_from: _Sources) -> Array:
        del keys_from
        block, _ = self.select_layer(step)
        assert block.mlp is not None  # noqa: S101 - there is no such step without one
        written = block.mlp(_sum_input(self.table, inputs_from, step, 0))
        return written - self._take_replacement(step)

    def _run_post_norm(
        self, step: Int[Array, ""], inputs_from: _Sources, keys_from: _Sources
    ) -> Array:
        del keys_from
        block, _ = self.select_layer(step)
        own, whole = (_sum_input(self.table, inputs_from, step, j) for j in (0, 1))
        return block.attention.apply_post_norm(own, whole) - self._take_replacement(step)

    def _take_replacement(self, step: Int[Array, ""]) -> Array:
        replaced = self.clean_run.replaced[self.table.node[step]]
        if self.everywhere:
            return replaced
        batch = (len(self.clean_run.score_at), *replaced.shape[1:])
        return (
            replaced[:, 0]
            if replaced.shape[1] == 1
            else take_scored(jnp.broadcast_to(replaced, batch), self.clean_run.score_at)
        )


@eqx.filter_jit(donate="all-except-first")
def run_update(
    fixed: tuple[Transformer, CleanRun, StepTable, StepTable], values: NodeValues
) -> NodeValues:
    """Every node of the two tables, computed in place. ``values`` is used up."""
    model, clean_run, everywhere, at_scored = fixed
    everywhere_runner = _StepRunner(model, clean_run, everywhere, True)
    scored_runner = _StepRunner(model, clean_run, at_scored, False)

    def update_everywhere(step: Array, values: NodeValues) -> NodeValues:
        sources = _Sources(clean_run.bases.everywhere, values.everywhere, None)
        value = everywhere_runner.compute_value(step, sources, sources)[0]
        node = everywhere.node[step]
        return NodeValues(
            values.everywhere.at[node].set(value),
            values.scored.at[node].set(take_scored(value, clean_run.score_at)),
        )

    def update_scored(step: Array, values: NodeValues) -> NodeValues:
        at = _Sources(clean_run.bases.scored, values.scored, None)
        value = scored_runner.compute_value(
            step, at, _Sources(clean_run.bases.everywhere, values.everywhere, None)
        )[0]
        return values._replace(scored=values.scored.at[at_scored.node[step]].set(value))

    with jax.default_matmul_precision("highest"):
        values = jax.lax.fori_loop(0, everywhere.n, update_everywhere, values)
        return jax.lax.fori_loop(0, at_scored.n, update_scored, values)


@eqx.filter_jit
def run_current_metric(
    model: Transformer,
    clean_run: CleanRun,
    logits: StepTable,
    values: NodeValues,
    targets: Targets,
    metric: Metric,
) -> Float[Array, " batch"]:
    """The metric of the nodes' values of the moment."""
    with jax.default_matmul_precision("highest"):
        final = _sum_input(
            logits, _Sources(clean_run.bases.scored, values.scored, None), jnp.int32(0), 0
        )
        return compute_metric(model, final[0], targets, metric)


class Candidates(NamedTuple):
    """Inputs to try for one reader: which nodes each candidate's input adds to ``base``."""

    rows: Float[Array, "groups lanes nodes"]
    n_groups: np.int32
    base: np.int32


@eqx.filter_jit
def run_candidates(
    model: Transformer,
    clean_run: CleanRun,
    values: NodeValues,
    tables: tuple[StepTable, StepTable, StepTable],
    candidates: Candidates,
    targets: Targets,
    metric: Metric,
    candidate_everywhere: bool,
    n_slots: tuple[int, int],
) -> Float[Array, "groups lanes batch"]:
    """The metric of every candidate in the first groups; the rest stays zero and costs nothing.

    Args:
        candidate_everywhere, n_slots: as in `Schedule`.
    """
    everywhere, at_scored, logits = tables
    everywhere_runner = _StepRunner(model, clean_run, everywhere, True)
    scored_runner = _StepRunner(model, clean_run, at_scored, False)

    def make_inputs(rows: Array, bases: Array, shared: Array) -> Array:
        # [lanes, nodes] @ [nodes, all other axes], then [lanes, batch, pos, d] (or without pos)
        added = rows.astype(shared.dtype) @ shared.reshape(len(shared), -1)
        return bases[candidates.base] + added.reshape(-1, *shared.shape[1:])

    def update_everywhere(step: Array, slots: Array) -> Array:
        sources = _Sources(clean_run.bases.everywhere, values.everywhere, slots)
        value = everywhere_runner.compute_value(step, sources, sources)
        return slots.at[everywhere.slot[step]].set(value)

    def update_scored(step: Array, slots: Array, all_slots: Array | None) -> Array:
        at = _Sources(clean_run.bases.scored, values.scored, slots)
        keys = _Sources(clean_run.bases.everywhere, values.everywhere, all_slots)
        value = scored_runner.compute_value(step, at, keys)
        return slots.at[at_scored.slot[step]].set(value)

    def run_group(i: Array, metrics_of_groups: Array) -> Array:
        rows, all_slots = candidates.rows[i], None
        lanes = len(rows)
        if candidate_everywhere:
            x = make_inputs(rows, clean_run.bases.everywhere, values.everywhere)
            all_slots = jnp.zeros((n_slots[0], *x.shape), x.dtype).at[0].set(x)
            all_slots = jax.lax.fori_loop(0, everywhere.n, update_everywhere, all_slots)
            first = take_scored(all_slots, clean_run.score_at)
        else:
            first = make_inputs(rows, clean_run.bases.scored, values.scored)[None]
        # first the slots of the steps at every position, which steps at the scored one read
        slots = jnp.zeros((sum(n_slots), lanes, *first.shape[2:]), first.dtype)
        slots = slots.at[: len(first)].set(first)
        slots = jax.lax.fori_loop(
            0, at_scored.n, lambda step, s: update_scored(step, s, all_slots), slots
        )
        final = _sum_input(
            logits, _Sources(clean_run.bases.scored, values.scored, slots), jnp.int32(0), 0
        )
        return metrics_of_groups.at[i].set(
            jax.vmap(lambda x: compute_metric(model, x, targets, metric))(final)
        )

    with jax.default_matmul_precision("highest"):
        start = jnp.zeros((*candidates.rows.shape[:2], len(targets.answer)), jnp.float32)
        return jax.lax.fori_loop(0, candidates.n_groups, run_group, start)


def compute_metric(
    model: Transformer, final: Float[Array, "batch d"], targets: Targets, metric: Metric
) -> Float[Array, " batch"]:
    """The metric of final residual streams, from the unembedding's columns that it needs."""
    if not metric.columns_only:
        return metric.function(model.unembed(final), targets)
    first, distractor = jnp.zeros_like(targets.answer), targets.distractor
    tokens = [targets.answer] if distractor is None else [targets.answer, distractor]
    logits = model.unembed_tokens(final, jnp.stack(tokens, axis=-1))
    return metric.function(
        logits, Targets(first, None if distractor is None else first + 1, logits)
    )
