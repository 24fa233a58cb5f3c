"""The frontier: exact values of masks near the last one, at the cost of what changes.

Such masks differ from the last one in one reader's edges, or keep few edges. The values of all
nodes under one mask are kept and brought up to date when the mask shrinks. Candidates for one
reader then need only that reader's node and what a kept path leads to from there.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float

from circuitgraph.engine.batch import Batch
from circuitgraph.engine.devices import Devices
from circuitgraph.engine.frontier.clean_run import CleanRun, NodeValues, run_clean
from circuitgraph.engine.frontier.dependencies import Dependencies
from circuitgraph.engine.frontier.machine import (
    Candidates,
    run_candidates,
    run_current_metric,
    run_update,
)
from circuitgraph.engine.frontier.operations import OperationSizes, count_candidate_operations
from circuitgraph.engine.frontier.schedule import Schedule, Scheduler
from circuitgraph.engine.grid import EdgeMatrix
from circuitgraph.engine.masked.runs import MaskedRuns
from circuitgraph.engine.tuning import (
    CHEAP_SLOT_BYTES,
    COMPILE_OPERATIONS,
    DENSE_SHARE,
    FRONTIER_GROUPS,
    MOST_LANES,
)
from circuitgraph.graph.graph import Graph
from circuitgraph.models.spec import Spec
from circuitgraph.models.transformer import Transformer


def is_worth_compiling(spec: Spec, graph: Graph, n_tokens: int) -> bool:
    """Whether one whole masked run for every edge takes longer than compiling the frontier does."""
    attention = 4 * spec.d_model * spec.d_head * spec.n_heads
    mlp = (2 + spec.gated) * spec.d_model * (spec.d_mlp or 0)
    sums = len(graph.readers) * len(graph.writers) * spec.d_model
    run = 2 * n_tokens * (spec.n_layers * (attention + mlp) + sums)
    return graph.n_edges * run > COMPILE_OPERATIONS


class _BatchState:
    """One batch of prompts: its clean run, and its nodes' values under the mask of the moment."""

    def __init__(self, model: Transformer, batch: Batch) -> None:
        assert batch.background is not None  # noqa: S101 - the frontier completes its batches
        self.devices = Devices.of(model, batch.n_prompts)
        clean_run, values = run_clean(model, batch.inputs, batch.background)
        self.clean_run: CleanRun = self.devices.share_prompts(clean_run)
        self.clean_values: NodeValues = self.devices.share_prompts(values)
        self.targets = batch.targets
        self.values = self.clean_values

    def count_positions(self) -> tuple[int, int]:
        """All positions of a prompt, and the moved ones; padding included."""
        plan = self.clean_run.plan
        return plan.keys_in.shape[1], plan.moved_at.shape[1]

    def reset_values(self) -> None:
        self.values = self.clean_values

    def update_values(self, model: Transformer, schedule: Schedule) -> None:
        if self.values is self.clean_values:
            self.values = jax.tree.map(jnp.copy, self.clean_values)  # the program uses it up
        fixed = (model, self.clean_run, schedule.everywhere, schedule.scored)
        self.values = run_update(fixed, self.values)


class Frontier:
    """Values of masks near the one that was asked about last, whose nodes' values it keeps.

    Results do not depend on what it keeps.
    """

    def __init__(self, graph: Graph, masked: MaskedRuns, lanes: int) -> None:
        """``lanes``: candidates computed side by side, over all devices together, if all positions
        are moved; if they are fewer, more candidates fit.
        """
        self._model, self._metric = masked.model, masked.metric
        self._dependencies = Dependencies(graph)
        self._states = [
            _BatchState(masked.model, masked.complete_batch(batch)) for batch in masked.batches
        ]
        self._kept: EdgeMatrix = self._dependencies.legal  # the mask that the states' values are of
        n_pos, n_moved = (
            max(state.count_positions()[part] for state in self._states) for part in (0, 1)
        )
        self.lanes = max(lanes, min(MOST_LANES, lanes << int(np.log2(n_pos // n_moved))))
        lane = 4 * max(state.values.everywhere.nodes[0].size for state in self._states)
        self._fixed_slots = (self._dependencies.n_nodes + 1) * self.lanes * lane <= CHEAP_SLOT_BYTES
        columns = 2 if masked.metric.columns_only else masked.model.spec.d_vocab_out
        n_prompts = sum(len(state.clean_run.plan.moved_at) for state in self._states)
        self._sizes = OperationSizes(masked.model.spec, graph, n_prompts, n_moved, columns)
        self._scheduler = self._new_scheduler(self._kept)
        self._schedules: dict[int, Schedule] = {}  # of candidates, by their reader

    def values(self, mask: Bool[np.ndarray, " edges"]) -> Float[np.ndarray, " batch"]:
        """The metric of each example under one mask."""
        kept = self._dependencies.grid.kept_matrix(mask)
        self._update_values(kept)
        nothing_changes = np.zeros(kept.shape[1], bool)
        logits = self._scheduler_of(kept).schedule_update(nothing_changes).logits
        parts = [
            run_current_metric(
                self._model, state.clean_run, logits, state.values, state.targets, self._metric
            )
            for state in self._states
        ]
        return np.concatenate([np.asarray(part) for part in parts])

    def is_cheaper(self, reader: int, mask: Bool[np.ndarray, " edges"]) -> bool:
        """Whether `candidate_values` costs less than masked runs of the same masks."""
        schedule = self._schedule_of(reader, self._with_reader(reader, mask))
        return schedule.n_reads <= DENSE_SHARE * self._dependencies.graph.n_edges

    def count_operations(self, reader: int, mask: Bool[np.ndarray, " edges"]) -> int:
        """Operations of each of the masks that `candidate_values` takes; nothing is run."""
        schedule = self._schedule_of(reader, self._with_reader(reader, mask))
        return count_candidate_operations(schedule, self._sizes, self.lanes) // self.lanes

    def candidate_values(
        self, reader: int, masks: Bool[np.ndarray, "n edges"]
    ) -> Float[np.ndarray, "n batch"]:
        """The metric of each example under masks that differ in the edges into one reader only."""
        kept = self._with_reader(reader, masks[0])
        self._update_values(kept)
        schedule = self._schedule_of(reader, kept)
        rows = self._dependencies.grid.kept_row(masks, reader).astype(np.float32)
        size = FRONTIER_GROUPS * self.lanes
        parts = [self._run_launch(schedule, rows[i : i + size]) for i in range(0, len(rows), size)]
        return np.concatenate(parts)

    def _run_launch(
        self, schedule: Schedule, rows: Float[np.ndarray, "n writers"]
    ) -> Float[np.ndarray, "n batch"]:
        first, n_nodes = self._dependencies.graph.n_vectors, self._dependencies.n_nodes
        padded = np.zeros((FRONTIER_GROUPS * self.lanes, n_nodes), np.float32)
        padded[: len(rows), :first] = rows[:, :first]
        of_units = np.zeros((len(padded), rows.shape[1] - first), np.float32)
        of_units[: len(rows)] = rows[:, first:]
        n_groups, base = np.int32(-(-len(rows) // self.lanes)), np.int32(schedule.candidate)
        # [groups, lanes, writers]: lanes are computed side by side, groups one after the other
        grouped = [
            rows.reshape(FRONTIER_GROUPS, self.lanes, rows.shape[1]) for rows in (padded, of_units)
        ]
        placed: dict[Devices, tuple[jax.Array, ...]] = {
            devices: tuple(devices.share_candidates(rows) for rows in grouped)
            for devices in {state.devices for state in self._states}
        }
        tables = (schedule.everywhere, schedule.scored, schedule.logits)
        parts = [
            run_candidates(
                self._model,
                state.clean_run,
                state.values,
                tables,
                Candidates(*placed[state.devices], n_groups=n_groups, base=base),
                state.targets,
                self._metric,
                schedule.candidate_everywhere,
                schedule.n_slots,
            )
            for state in self._states
        ]
        values = [np.asarray(part).reshape(len(padded), -1)[: len(rows)] for part in parts]
        return np.concatenate(values, axis=1)

    def _update_values(self, kept: EdgeMatrix) -> None:
        """Bring all values that matter up to date with the edges ``kept``.

        From the clean run if edges have come back. A value is a function of the mask alone, bit for
        bit: what is computed again is computed by the same program from the same numbers, whatever
        was computed before.
        """
        if (kept & ~self._kept).any():
            for state in self._states:
                state.reset_values()
            self._kept = self._dependencies.legal
        changed_readers = (kept != self._kept).any(1)
        if not changed_readers.any():
            return
        self._kept = kept
        roots = self._dependencies.find_writers_fed_by(changed_readers)
        schedule = self._scheduler_of(kept).schedule_update(roots)
        if schedule.touched.any():
            for state in self._states:
                state.update_values(self._model, schedule)

    def _scheduler_of(self, kept: EdgeMatrix) -> Scheduler:
        if not np.array_equal(kept, self._scheduler.kept):
            self._scheduler, self._schedules = self._new_scheduler(kept), {}
        return self._scheduler

    def _new_scheduler(self, kept: EdgeMatrix) -> Scheduler:
        return Scheduler(self._dependencies, kept, self._fixed_slots)

    def _schedule_of(self, reader: int, kept: EdgeMatrix) -> Schedule:
        scheduler = self._scheduler_of(kept)
        if reader not in self._schedules:
            self._schedules[reader] = scheduler.schedule_candidates(reader)
        return self._schedules[reader]

    def _with_reader(self, reader: int, mask: Bool[np.ndarray, " edges"]) -> EdgeMatrix:
        """What is kept, with all edges into the reader: the same for all candidates of it."""
        kept = self._dependencies.grid.kept_matrix(mask)
        kept[reader] = self._dependencies.legal[reader]
        return kept
