"""The frontier: exact values of masks that differ in one reader's edges, or that keep few, at the
cost of what changes.

The values of all nodes under one mask are kept and brought up to date when the mask shrinks.
Candidates for one
reader then need only that reader's node and what a kept path leads to from there.
"""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float

from circuitgraph.engine.devices import Devices
from circuitgraph.engine.frontier.dependencies import Kept, Wiring
from circuitgraph.engine.frontier.machine import (
    Candidates,
    Ground,
    Values,
    clean_ground,
    run_candidates,
    run_settled,
    run_settling,
)
from circuitgraph.engine.frontier.schedule import Schedule, Scheduler
from circuitgraph.engine.masked.forward import Background, Cells, Inputs
from circuitgraph.engine.memory import GROUPS
from circuitgraph.graph.graph import Graph
from circuitgraph.models.spec import Spec
from circuitgraph.models.transformer import Transformer
from circuitgraph.tasks.metrics import Metric, Targets

_CHEAP = 2**24  # bytes of slots that take no time worth mentioning to clear
_DENSE = 0.1  # of a graph's edges: with more sums than that, masked runs, which are matrix products, are faster
_COMPILING = 2**39  # operations that a computer does while it compiles the frontier's programs


def pays(spec: Spec, graph: Graph, n_tokens: int) -> bool:
    """Whether one whole masked run for every edge takes longer than compiling the frontier does."""
    attention = 4 * spec.d_model * spec.d_head * spec.n_heads
    mlp = (2 + spec.gated) * spec.d_model * (spec.d_mlp or 0)
    run = (
        2
        * n_tokens
        * (
            spec.n_layers * (attention + mlp)
            + len(graph.readers) * len(graph.writers) * spec.d_model
        )
    )
    return graph.n_edges * run > _COMPILING


class _Prompts:
    """One chunk of prompts: its ground, its clean values, and its values under the mask of the
    moment.
    """

    def __init__(
        self, model: Transformer, inputs: Inputs, targets: Targets, background: Background
    ) -> None:
        self.devices = Devices.of(len(targets.answer))
        ground, clean = clean_ground(model, inputs, background)
        self.ground: Ground = self.devices.prompts(ground)
        self.clean: Values = self.devices.prompts(clean)
        self.targets = targets
        self.values = self.clean

    def reset(self) -> None:
        self.values = self.clean

    def settle(self, model: Transformer, schedule: Schedule) -> None:
        if self.values is self.clean:
            self.values = jax.tree.map(jnp.copy, self.clean)  # for it is used up
        self.values = run_settling(
            (model, self.ground, schedule.everywhere, schedule.scored), self.values
        )


class Frontier:
    """Values of masks near the one that was asked about last, whose values it keeps; results do not
    depend on it.
    """

    def __init__(
        self,
        model: Transformer,
        graph: Graph,
        metric: Metric,
        chunks: Sequence[tuple[Inputs, Targets, Background]],
        lanes: int,
    ) -> None:
        """Args: lanes: candidates computed side by side, over all devices together."""
        self._model, self._metric, self._lanes = model, metric, lanes
        self._wiring = Wiring(graph)
        self._chunks = [_Prompts(model, *chunk) for chunk in chunks]
        self._kept: Kept = graph.legal  # what the chunks' values are of
        lane = 4 * max(chunk.values.everywhere[0].size for chunk in self._chunks)
        self._roomy = (self._wiring.n_nodes + 1) * lanes * lane <= _CHEAP
        self._scheduler, self._tests = self._planner(graph.legal), dict[int, Schedule]()
        cells = Cells.of(graph)
        self._edge, self._direct = np.asarray(cells.edge), np.asarray(cells.direct)

    def values(self, mask: Bool[np.ndarray, " edges"]) -> Float[np.ndarray, " batch"]:
        """The metric of each example under one mask."""
        kept = self._kept_by(mask)
        self._settle(kept)
        logits = self._plans(kept).settling(np.zeros(kept.shape[1], bool)).logits
        found = [
            run_settled(
                self._model, chunk.ground, logits, chunk.values, chunk.targets, self._metric
            )
            for chunk in self._chunks
        ]
        return np.concatenate([np.asarray(part) for part in found])

    def pays(self, reader: int, mask: Bool[np.ndarray, " edges"]) -> bool:
        """Whether `candidates` costs less than masked runs: little is left that a change of the
        reader moves.
        """
        return (
            self._test(reader, self._around(reader, mask)).n_reads
            <= _DENSE * self._wiring.graph.n_edges
        )

    def candidates(
        self, reader: int, masks: Bool[np.ndarray, "n edges"]
    ) -> Float[np.ndarray, "n batch"]:
        """The metric of each example under masks that differ in the edges into one reader only."""
        kept = self._around(reader, masks[0])
        self._settle(kept)
        schedule = self._test(reader, kept)
        rows = np.zeros((len(masks), self._wiring.n_nodes), np.float32)
        rows[:, : kept.shape[1]] = self._rows(masks, reader)
        size = GROUPS * self._lanes
        parts = [self._launch(schedule, rows[i : i + size]) for i in range(0, len(rows), size)]
        return np.concatenate(parts)

    def _launch(
        self, schedule: Schedule, rows: Float[np.ndarray, "n nodes"]
    ) -> Float[np.ndarray, "n batch"]:
        padded = np.zeros((GROUPS * self._lanes, rows.shape[1]), np.float32)
        padded[: len(rows)] = rows
        n_groups, base = np.int32(-(-len(rows) // self._lanes)), np.int32(schedule.candidate)
        grouped = padded.reshape(GROUPS, self._lanes, -1)
        placed = {
            devices: devices.candidates(grouped)
            for devices in {chunk.devices for chunk in self._chunks}
        }
        tables = (schedule.everywhere, schedule.scored, schedule.logits)
        found = [
            run_candidates(
                self._model,
                chunk.ground,
                chunk.values,
                tables,
                Candidates(placed[chunk.devices], n_groups, base),
                chunk.targets,
                self._metric,
                schedule.wide,
                schedule.n_slots,
            )
            for chunk in self._chunks
        ]
        return np.concatenate(
            [np.asarray(part).reshape(len(padded), -1)[: len(rows)] for part in found], axis=1
        )

    def _settle(self, kept: Kept) -> None:
        """Bring all values that matter up to date with the edges ``kept``.

        From the clean run if edges have come back. A value is a function of the mask alone, bit for
        bit: what is computed again is computed by the same program from the same numbers, whatever
            was settled before.
        """
        if (kept & ~self._kept).any():
            for chunk in self._chunks:
                chunk.reset()
            self._kept = self._wiring.graph.legal
        changed = (kept != self._kept).any(1)
        if not changed.any():
            return
        self._kept = kept
        schedule = self._plans(kept).settling(self._wiring.fed_by(changed))
        if schedule.touched.any():
            for chunk in self._chunks:
                chunk.settle(self._model, schedule)

    def _plans(self, kept: Kept) -> Scheduler:
        if not np.array_equal(kept, self._scheduler.kept):
            self._scheduler, self._tests = self._planner(kept), {}
        return self._scheduler

    def _planner(self, kept: Kept) -> Scheduler:
        return Scheduler(self._wiring, kept, self._roomy)

    def _test(self, reader: int, kept: Kept) -> Schedule:
        scheduler = self._plans(kept)
        if reader not in self._tests:
            self._tests[reader] = scheduler.testing(reader)
        return self._tests[reader]

    def _around(self, reader: int, mask: Bool[np.ndarray, " edges"]) -> Kept:
        """What is kept, with all edges into the reader: the same for all candidates of it."""
        kept = self._kept_by(mask)
        kept[reader] = self._wiring.graph.legal[reader]
        return kept

    def _kept_by(self, mask: Bool[np.ndarray, " edges"]) -> Kept:
        """The mask as a matrix, as `Cells.matrix` makes it."""
        padded = np.append(mask, [False, True])
        return padded[self._edge] & padded[self._direct][:, None]

    def _rows(
        self, masks: Bool[np.ndarray, "n edges"], reader: int
    ) -> Bool[np.ndarray, "n writers"]:
        padded = np.concatenate(
            [masks, np.zeros((len(masks), 1), bool), np.ones((len(masks), 1), bool)], axis=1
        )
        return padded[:, self._edge[reader]] & padded[:, [self._direct[reader]]]
