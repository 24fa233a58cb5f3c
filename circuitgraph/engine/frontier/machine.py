"""Running a schedule: only what changes is computed, from the values of what does not.

Pure functions. Axes: ``lanes`` are candidates side by side; ``pos`` the moved positions, of which
`clean_run` tells.
"""

from __future__ import annotations

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

from circuitgraph.engine.batch import take_scored, take_scored_values
from circuitgraph.engine.frontier.clean_run import CleanRun, NodeValues
from circuitgraph.engine.frontier.schedule import StepTable
from circuitgraph.engine.frontier.steps import (
    NewUnits,
    StepRunner,
    UnitSources,
    ValueSources,
    sum_input,
)
from circuitgraph.engine.values import Values, put_layer, sum_writers
from circuitgraph.models.transformer import Transformer
from circuitgraph.tasks.metrics import Metric, Targets


@eqx.filter_jit(donate="all-except-first")
def run_update(
    fixed: tuple[Transformer, CleanRun, StepTable, StepTable], values: NodeValues
) -> NodeValues:
    """Every node of the two tables, computed in place. ``values`` is used up."""
    model, clean_run, everywhere, at_scored = fixed
    everywhere_runner = StepRunner(model, clean_run, everywhere, True)
    scored_runner = StepRunner(model, clean_run, at_scored, False)

    def update_everywhere(step: Array, values: NodeValues) -> NodeValues:
        everywhere_now, scored_now = values
        sources = list_sources(model, clean_run.bases.everywhere, everywhere_now)
        value = everywhere_runner.compute_value(step, sources, sources)[0]
        units = everywhere_runner.compute_lane_units(step, sources)
        node, score_in = everywhere.node[step], clean_run.plan.score_in
        of_scored = None if units is None else units.take_positions(score_in)
        return NodeValues(
            put_values(everywhere_now, node, value, units),
            put_values(scored_now, node, take_scored(value, score_in), of_scored),
        )

    def update_scored(step: Array, values: NodeValues) -> NodeValues:
        at = list_sources(model, clean_run.bases.scored, values.scored)
        keys = list_sources(model, clean_run.bases.everywhere, values.everywhere)
        value = scored_runner.compute_value(step, at, keys)[0]
        units = scored_runner.compute_lane_units(step, at)
        return values._replace(scored=put_values(values.scored, at_scored.node[step], value, units))

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
        sources = list_sources(model, clean_run.bases.scored, values.scored)
        final = sum_input(logits, sources, jnp.int32(0), 0)
        return compute_metric(model, final[0], targets, metric)


class Candidates(NamedTuple):
    """Inputs to try for one reader: which writers each candidate's input adds to ``base``."""

    nodes: Float[Array, "groups lanes nodes"]
    units: Float[Array, "groups lanes units"]
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
    everywhere_runner = StepRunner(model, clean_run, everywhere, True)
    scored_runner = StepRunner(model, clean_run, at_scored, False)
    n_groups, lanes, n_units = candidates.units.shape

    def make_inputs(i: Array, bases: Array, shared: Values) -> Array:
        # [lanes, writers] @ [writers, all other axes], then [lanes, batch, pos, d]
        weights = jnp.concatenate([candidates.nodes[i], candidates.units[i]], axis=1)
        added = sum_writers(weights.astype(shared.nodes.dtype), shared, model.units)
        return bases[candidates.base] + added

    def make_slots(values_of_nodes: Array, n: int, first: Array) -> Values:
        """Slots that hold ``first`` in front, and room for every unit."""
        nodes = jnp.zeros((n, *values_of_nodes.shape[1:]), values_of_nodes.dtype)
        units = jnp.zeros((n_units, *values_of_nodes.shape[1:-1]), values_of_nodes.dtype)
        return Values(nodes.at[: len(first)].set(first), units)

    def update_everywhere(step: Array, slots: Values) -> Values:
        sources = list_sources(model, clean_run.bases.everywhere, values.everywhere, slots)
        value = everywhere_runner.compute_value(step, sources, sources)
        units = everywhere_runner.compute_units(step, sources)
        return put_values(slots, everywhere.slot[step], value, units)

    def update_scored(step: Array, slots: Values, all_slots: Values | None) -> Values:
        at = list_sources(model, clean_run.bases.scored, values.scored, slots)
        keys = list_sources(model, clean_run.bases.everywhere, values.everywhere, all_slots)
        value = scored_runner.compute_value(step, at, keys)
        units = scored_runner.compute_units(step, at)
        return put_values(slots, at_scored.slot[step], value, units)

    def run_group(i: Array, metrics_of_groups: Array) -> Array:
        all_slots = None
        if candidate_everywhere:
            x = make_inputs(i, clean_run.bases.everywhere, values.everywhere)[None]
            all_slots = make_slots(x, n_slots[0], x)
            all_slots = jax.lax.fori_loop(0, everywhere.n, update_everywhere, all_slots)
            # first the slots of the steps at every position, which steps at the scored one read
            first = take_scored_values(all_slots, clean_run.plan.score_in)
            slots = make_slots(first.nodes, sum(n_slots), first.nodes)._replace(units=first.units)
        else:
            x = make_inputs(i, clean_run.bases.scored, values.scored)[None]
            slots = make_slots(x, sum(n_slots), x)
        slots = jax.lax.fori_loop(
            0, at_scored.n, lambda step, s: update_scored(step, s, all_slots), slots
        )
        sources = list_sources(model, clean_run.bases.scored, values.scored, slots)
        final = sum_input(logits, sources, jnp.int32(0), 0)
        return metrics_of_groups.at[i].set(
            jax.vmap(lambda x: compute_metric(model, x, targets, metric))(final)
        )

    with jax.default_matmul_precision("highest"):
        start = jnp.zeros((n_groups, lanes, len(clean_run.plan.score_at)), jnp.float32)
        return jax.lax.fori_loop(0, candidates.n_groups, run_group, start)


def compute_metric(
    model: Transformer, final: Float[Array, "batch scored d"], targets: Targets, metric: Metric
) -> Float[Array, " batch"]:
    """The metric of final residual streams, from the unembedding's columns that it needs."""
    if not metric.columns_only:
        return metric.measure(model.unembed(final), targets)
    answer, distractor = targets.answer, targets.distractor
    assert answer is not None  # noqa: S101 - the prompts were checked against the metric
    first, tokens = jnp.zeros_like(answer), [answer] if distractor is None else [answer, distractor]
    # [batch * scored, d] and [batch * scored, tokens]: each position has columns of its own
    columns = jnp.stack(tokens, axis=-1).reshape(-1, len(tokens))
    logits = model.unembed_tokens(final.reshape(-1, final.shape[-1]), columns)
    return metric.measure(
        logits.reshape(*first.shape, -1),
        targets._replace(answer=first, distractor=None if distractor is None else first + 1),
    )


def list_sources(
    model: Transformer, bases: Array, shared: Values, slots: Values | None = None
) -> ValueSources:
    """Where inputs come from: streams, values that all candidates share, and their own."""
    units = None
    if model.units is not None:
        own = None if slots is None else slots.units
        units = UnitSources(model.units.rows, shared.units, own)
    return ValueSources(bases, shared.nodes, None if slots is None else slots.nodes, units)


def put_values(
    values: Values, place: Array, value: Float[Array, "*lanes batch pos d"], units: NewUnits | None
) -> Values:
    """``values`` with a step's value, and its units, in their places."""
    nodes = values.nodes.at[place].set(value, mode="drop")  # a unit's step has no place
    if units is None:
        return Values(nodes, values.units)
    return Values(nodes, put_layer(values.units, units.slots, units.numbers))
