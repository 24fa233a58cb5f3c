"""Computing one step of a schedule: the sums of a node's inputs, then the node.

Axes: ``lanes`` are candidates side by side; ``pos`` the moved positions, or the scored ones.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, Int

from circuitgraph.engine.batch import take_scored, take_scored_numbers
from circuitgraph.engine.frontier.clean_run import CleanRun
from circuitgraph.engine.frontier.schedule import ERROR, HEAD, POST_NORM, UNIT, StepTable
from circuitgraph.engine.frontier.schedule import MLP as MLP_STEP
from circuitgraph.engine.tuning import UNITS_AT_ONCE
from circuitgraph.engine.values import take_layer
from circuitgraph.models.attention import Attention
from circuitgraph.models.mlp import MLP
from circuitgraph.models.positions import LayerSettings
from circuitgraph.models.split_mlp import SplitMlp
from circuitgraph.models.transformer import Block, Transformer
from circuitgraph.models.units import Units


class UnitSources(NamedTuple):
    """Where the units come from that an input adds: values that all candidates share, and slots.

    Attributes:
        rows: what each unit writes for each 1 of its value.
        shared: [units, batch, pos]. slots: [units, lanes, batch, pos]; None without candidates.
    """

    rows: Float[Array, "units d"]
    shared: Array
    slots: Array | None


class NewUnits(NamedTuple):
    """Values of a layer's units, and where they go among all; as many as the largest layer has."""

    slots: Int[Array, " most"]
    numbers: Float[Array, "most *lanes batch pos"]

    def take_positions(self, at: Int[Array, "batch positions"]) -> NewUnits:
        """The same units at some of the positions."""
        return self._replace(numbers=take_scored_numbers(self.numbers, at))


class ValueSources(NamedTuple):
    """Where the inputs of one kind of step come from: at moved positions, or at the scored ones.

    ``units`` is None in a graph of whole MLPs.
    """

    bases: Array
    shared: Array
    slots: Array | None
    units: UnitSources | None


def _sum_shared_input(
    table: StepTable, sources: ValueSources, step: Int[Array, ""], j: int
) -> Array:
    """The part of an input that all candidates share."""
    total = sources.bases[table.base[step, j]]
    total = _add_rows(total, sources.shared, table.reads, table.shared[step, j])
    if sources.units is None:
        return total
    units, part = sources.units, table.shared_units[step, j]
    return _add_units(total, units.shared, units.rows, table.reads, part)


def _add_rows(
    total: Array, rows: Array, reads: Array | np.ndarray, part: Array | np.ndarray
) -> Array:
    """Add to ``total`` the rows that a part of ``reads`` names, one by one.

    Args:
        part: start and length in ``reads``.
    """
    start, n = part
    return jax.lax.fori_loop(0, n, lambda i, total: total + rows[reads[start + i]], total)


def _add_units(
    total: Float[Array, "*axes d"],
    values: Float[Array, "units *axes"],
    rows: Float[Array, "units d"],
    reads: Array | np.ndarray,
    part: Array | np.ndarray,
) -> Float[Array, "*axes d"]:
    """Add to ``total`` what the units write that a part of ``reads`` names, portion by portion.

    Args:
        part: start in ``reads``, and the number of portions.
    """
    start, n = part

    def add_portion(i: Array, total: Array) -> Array:
        first = start + i * UNITS_AT_ONCE
        units = jax.lax.dynamic_slice_in_dim(jnp.asarray(reads), first, UNITS_AT_ONCE)
        # numbers that no unit has fill the last portion up
        some, own_rows = (x.at[units].get(mode="fill", fill_value=0) for x in (values, rows))
        return total + jnp.einsum("u...,ud->...d", some, own_rows)

    return jax.lax.fori_loop(0, n, add_portion, total)


def sum_input(table: StepTable, sources: ValueSources, step: Int[Array, ""], j: int) -> Array:
    """An input of every candidate, with an axis of lanes; of one lane where there are no slots."""
    common = _sum_shared_input(table, sources, step, j)[None]
    if sources.slots is None:
        return common
    every = jnp.broadcast_to(common, sources.slots.shape[1:])
    every = _add_rows(every, sources.slots, table.reads, table.slots[step, j])
    units, part = sources.units, table.slot_units[step, j]
    if units is None or units.slots is None:
        return every
    return _add_units(every, units.slots, units.rows, table.reads, part)


def _project_input(
    project: Callable[[Array], Array],
    table: StepTable,
    sources: ValueSources,
    step: Int[Array, ""],
    j: int,
) -> Float[Array, "lanes batch pos d_head"]:
    """An input's projection; computed once where all candidates share the input."""
    lanes, slots = jax.vmap(project), sources.slots
    if slots is None:
        return lanes(sum_input(table, sources, step, j))

    def project_once() -> Array:
        y = lanes(_sum_shared_input(table, sources, step, j)[None])
        return jnp.broadcast_to(y, (slots.shape[1], *y.shape[1:]))

    return jax.lax.cond(
        table.slots[step, j, 1] + table.slot_units[step, j, 1] == 0,
        project_once,
        lambda: lanes(sum_input(table, sources, step, j)),
    )


class StepRunner(NamedTuple):
    """The model and the clean run under one table's steps.

    ``everywhere``: values are computed at every moved position; else at the scored ones only.
    """

    model: Transformer
    clean_run: CleanRun
    table: StepTable
    everywhere: bool

    def select_layer(self, step: Int[Array, ""]) -> tuple[Block, LayerSettings]:
        return self.model.select_layer(self.table.layer[step])

    def compute_value(
        self, step: Int[Array, ""], inputs_from: ValueSources, keys_from: ValueSources
    ) -> Array:
        """A step's value.

        Args:
            inputs_from: where its queries, or an MLP's input, come from.
            keys_from: where its keys and values come from: always at every moved position.
        """
        kinds = {HEAD: self._run_head}
        if self.model.blocks.mlp is not None:
            kinds[MLP_STEP] = self._run_mlp
        if self.model.spec.post_norm is not None:
            kinds[POST_NORM] = self._run_post_norm
        if self.model.units is not None and self.model.units.features is not None:
            kinds[ERROR] = self._run_error
        if self.model.units is not None and self.model.units.own_inputs:
            kinds[UNIT] = self._write_nothing
        # the program of a kind that this model has no steps of is as small as can be
        every = [kinds.get(kind, self._pass_input) for kind in range(max(kinds) + 1)]
        branches = [lambda run=run: run(step, inputs_from, keys_from) for run in every]
        return jax.lax.switch(self.table.kind[step], branches)

    def _pass_input(
        self, step: Int[Array, ""], inputs_from: ValueSources, keys_from: ValueSources
    ) -> Array:
        del keys_from
        return sum_input(self.table, inputs_from, step, 0)

    def _write_nothing(
        self, step: Int[Array, ""], inputs_from: ValueSources, keys_from: ValueSources
    ) -> Array:
        """A unit's step has no vector."""
        del step, keys_from
        lanes = inputs_from.shared[:1] if inputs_from.slots is None else inputs_from.slots[0]
        return jnp.zeros_like(lanes)

    def _run_head(
        self, step: Int[Array, ""], inputs_from: ValueSources, keys_from: ValueSources
    ) -> Array:
        (block, settings), head = self.select_layer(step), self.table.head[step]
        attention: Attention = block.attention
        positions = self.clean_run.queries
        queries = positions if self.everywhere else self.clean_run.scored_queries

        def project_query(x: Array) -> Array:
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

        k = self._add_fixed_keys(k, self.clean_run.keys, step)
        v = self._add_fixed_keys(v, self.clean_run.values, step)
        k, v = (jnp.broadcast_to(x, (len(q), *x.shape[1:])) for x in (k, v))
        # over lanes: [lanes, batch, queries, d]
        value = jax.vmap(run_attention)(q, k, v)
        return (
            value if self.model.spec.post_norm is not None else value - self._take_replacement(step)
        )

    def _add_fixed_keys(
        self,
        x: Float[Array, "lanes batch moved d_head"],
        fixed: Float[Array, "layers kv_heads batch pos d_head"] | None,
        step: Int[Array, ""],
    ) -> Float[Array, "lanes batch pos d_head"]:
        """A step's keys or values at all positions, from those at the moved ones."""
        if fixed is None:
            return x
        spec, keys_in = self.model.spec, self.clean_run.plan.keys_in
        kv_head = self.table.head[step] // (spec.n_heads // spec.n_kv_heads)
        clean = fixed[self.table.layer[step], kv_head]
        return jnp.where(keys_in[:, :, None] < 0, clean, take_scored(x, jnp.maximum(keys_in, 0)))

    def _run_mlp(
        self, step: Int[Array, ""], inputs_from: ValueSources, keys_from: ValueSources
    ) -> Array:
        del keys_from
        x = sum_input(self.table, inputs_from, step, 0)
        if self.model.units is None:
            written = self._select_mlp(step)(x)
        else:
            written = jax.lax.cond(
                self.table.writes_rest[step],
                self._split_mlp(step).write_rest,
                jnp.zeros_like,
                x,
            )
        return written - self._take_replacement(step)

    def _run_error(
        self, step: Int[Array, ""], inputs_from: ValueSources, keys_from: ValueSources
    ) -> Array:
        del keys_from
        x = sum_input(self.table, inputs_from, step, 0)
        return self._split_mlp(step).write_error(x) - self._take_replacement(step)

    def compute_units(self, step: Int[Array, ""], inputs_from: ValueSources) -> NewUnits | None:
        """The units of a split MLP's step; of any other step numbers that go nowhere.

        The step's input is summed a second time, so that no step has to pass it on. None in a graph
        of whole MLPs.
        """
        units = self.model.units
        if units is None:
            return None
        if units.own_inputs:
            return self._compute_own_unit(units, step, inputs_from)
        split = self._split_mlp(step)

        def read_units() -> Array:
            x = sum_input(self.table, inputs_from, step, 0)
            old = self._take_old_units(take_layer(self.clean_run.replaced.units, split.own))
            return split.read_units(x) - old[:, None]

        lanes = 1 if inputs_from.slots is None else inputs_from.slots.shape[1]
        shape = (len(split.own.slots), lanes, *inputs_from.shared.shape[1:-1])
        slots = split.own.slots
        is_due = (self.table.kind[step] == MLP_STEP) & (slots[0] < len(units.rows))
        numbers = jax.lax.cond(
            is_due, read_units, lambda: jnp.zeros(shape, inputs_from.shared.dtype)
        )
        return NewUnits(jnp.where(is_due, slots, len(units.rows)), numbers)

    def _compute_own_unit(
        self, units: Units, step: Int[Array, ""], inputs_from: ValueSources
    ) -> NewUnits:
        """The one unit of a step, where units have inputs of their own."""
        split, place, n_units = self._split_mlp(step), self.table.head[step], len(units.rows)
        slot = split.own.slots.at[place].get(mode="fill", fill_value=n_units)

        def read_unit() -> Array:
            x = sum_input(self.table, inputs_from, step, 0)
            old = self._take_old_units(self.clean_run.replaced.units[slot][None])
            return split.read_unit(x, split.own.indices[place])[None] - old[:, None]

        lanes = 1 if inputs_from.slots is None else inputs_from.slots.shape[1]
        shape = (1, lanes, *inputs_from.shared.shape[1:-1])
        is_due = self.table.kind[step] == UNIT
        numbers = jax.lax.cond(
            is_due, read_unit, lambda: jnp.zeros(shape, inputs_from.shared.dtype)
        )
        return NewUnits(jnp.where(is_due, slot, n_units)[None], numbers)

    def _take_old_units(
        self, old: Float[Array, "units one_or_batch one_or_moved"]
    ) -> Float[Array, "units one_or_batch one_or_positions"]:
        """Units' replacements at the positions of this table's steps."""
        if self.everywhere or old.shape[2] == 1:
            return old
        return take_scored_numbers(old, self.clean_run.plan.score_in)

    def compute_lane_units(
        self, step: Int[Array, ""], inputs_from: ValueSources
    ) -> NewUnits | None:
        """`compute_units` without candidates, of the one lane that there is then."""
        units = self.compute_units(step, inputs_from)
        return None if units is None else units._replace(numbers=units.numbers[:, 0])

    def _select_mlp(self, step: Int[Array, ""]) -> MLP:
        mlp = self.select_layer(step)[0].mlp
        assert mlp is not None  # noqa: S101 - there is no such step without one
        return mlp

    def _split_mlp(self, step: Int[Array, ""]) -> SplitMlp:
        assert self.model.units is not None  # noqa: S101 - asked only where MLPs are split
        layer = self.table.layer[step]
        own = jax.tree.map(lambda stacked: stacked[layer], self.model.units.layers)
        return self.model.split_mlp(self._select_mlp(step), own)

    def _run_post_norm(
        self, step: Int[Array, ""], inputs_from: ValueSources, keys_from: ValueSources
    ) -> Array:
        del keys_from
        block, _ = self.select_layer(step)
        own, whole = (sum_input(self.table, inputs_from, step, j) for j in (0, 1))
        return block.attention.apply_post_norm(own, whole) - self._take_replacement(step)

    def _take_replacement(self, step: Int[Array, ""]) -> Array:
        replaced = self.clean_run.replaced.nodes[self.table.node[step]]
        if self.everywhere:
            return replaced
        return (
            replaced
            if replaced.shape[1] == 1
            else take_scored(replaced, self.clean_run.plan.score_in)
        )
