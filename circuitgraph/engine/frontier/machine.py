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

from circuitgraph.engine.batch import take_scored
from circuitgraph.engine.frontier.clean_run import CleanRun, NodeValues
from circuitgraph.engine.frontier.schedule import StepTable
from circuitgraph.engine.frontier.steps import StepRunner, ValueSources, sum_input
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
        sources = ValueSources(clean_run.bases.everywhere, values.everywhere, None)
        value = everywhere_runner.compute_value(step, sources, sources)[0]
        node = everywhere.node[step]
        return NodeValues(
            values.everywhere.at[node].set(value),
            values.scored.at[node].set(take_scored(value, clean_run.plan.score_in)),
        )

    def update_scored(step: Array, values: NodeValues) -> NodeValues:
        at = ValueSources(clean_run.bases.scored, values.scored, None)
        value = scored_runner.compute_value(
            step, at, ValueSources(clean_run.bases.everywhere, values.everywhere, None)
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
        final = sum_input(
            logits, ValueSources(clean_run.bases.scored, values.scored, None), jnp.int32(0), 0
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
    everywhere_runner = StepRunner(model, clean_run, everywhere, True)
    scored_runner = StepRunner(model, clean_run, at_scored, False)

    def make_inputs(rows: Array, bases: Array, shared: Array) -> Array:
        # [lanes, nodes] @ [nodes, all other axes], then [lanes, batch, pos, d] (or without pos)
        added = rows.astype(shared.dtype) @ shared.reshape(len(shared), -1)
        return bases[candidates.base] + added.reshape(-1, *shared.shape[1:])

    def update_everywhere(step: Array, slots: Array) -> Array:
        sources = ValueSources(clean_run.bases.everywhere, values.everywhere, slots)
        value = everywhere_runner.compute_value(step, sources, sources)
        return slots.at[everywhere.slot[step]].set(value)

    def update_scored(step: Array, slots: Array, all_slots: Array | None) -> Array:
        at = ValueSources(clean_run.bases.scored, values.scored, slots)
        keys = ValueSources(clean_run.bases.everywhere, values.everywhere, all_slots)
        value = scored_runner.compute_value(step, at, keys)
        return slots.at[at_scored.slot[step]].set(value)

    def run_group(i: Array, metrics_of_groups: Array) -> Array:
        rows, all_slots = candidates.rows[i], None
        lanes = len(rows)
        if candidate_everywhere:
            x = make_inputs(rows, clean_run.bases.everywhere, values.everywhere)
            all_slots = jnp.zeros((n_slots[0], *x.shape), x.dtype).at[0].set(x)
            all_slots = jax.lax.fori_loop(0, everywhere.n, update_everywhere, all_slots)
            first = take_scored(all_slots, clean_run.plan.score_in)
        else:
            first = make_inputs(rows, clean_run.bases.scored, values.scored)[None]
        # first the slots of the steps at every position, which steps at the scored one read
        slots = jnp.zeros((sum(n_slots), lanes, *first.shape[2:]), first.dtype)
        slots = slots.at[: len(first)].set(first)
        slots = jax.lax.fori_loop(
            0, at_scored.n, lambda step, s: update_scored(step, s, all_slots), slots
        )
        final = sum_input(
            logits, ValueSources(clean_run.bases.scored, values.scored, slots), jnp.int32(0), 0
        )
        return metrics_of_groups.at[i].set(
            jax.vmap(lambda x: compute_metric(model, x, targets, metric))(final)
        )

    with jax.default_matmul_precision("highest"):
        start = jnp.zeros((*candidates.rows.shape[:2], len(clean_run.plan.score_at)), jnp.float32)
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
