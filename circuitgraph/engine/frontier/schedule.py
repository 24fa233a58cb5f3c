"""What to compute again when some readers' inputs change, planned without any model."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int

from circuitgraph.engine.frontier.dependencies import Dependencies, Writers
from circuitgraph.engine.grid import EdgeMatrix
from circuitgraph.engine.tuning import UNITS_AT_ONCE
from circuitgraph.graph.node import ATTENTION_INPUTS

Nodes = Bool[np.ndarray, " nodes"]
# what a step computes; POST_NORM: a head's part of a post-norm's output; ERROR: what an MLP writes
# and its dictionary does not; UNIT: one unit of a graph in which units have inputs of their own
HEAD, MLP, POST_NORM, ERROR, UNIT = range(5)


class StepTable(NamedTuple):
    """Steps in an order in which they can be computed, as arrays.

    Each step has up to three inputs to sum: q, k and v; an MLP has one. The step of a split MLP
    computes its units too, but where units are steps of their own: these have no node, no slot, and
    as ``head`` their place in the layer's units.

    Attributes:
        n: how many steps; the arrays are padded, so that one program serves many tables.
        kind, layer, head, node: what a step computes.
        slot: where a step's value for each candidate goes.
        base: which base an input starts from.
        shared, slots: start and length in ``reads`` of the nodes that an input adds: those that are
            the same for all candidates, and those that lie in slots.
        shared_units, slot_units: likewise of units, in portions of `UNITS_AT_ONCE`, the last of
            which is filled up with a number that no unit has.
        writes_rest: whether an MLP's step is to compute more than units.
    """

    n: np.int32
    kind: Int[np.ndarray, " steps"]
    layer: Int[np.ndarray, " steps"]
    head: Int[np.ndarray, " steps"]
    node: Int[np.ndarray, " steps"]
    slot: Int[np.ndarray, " steps"]
    base: Int[np.ndarray, "steps three"]
    shared: Int[np.ndarray, "steps three two"]
    slots: Int[np.ndarray, "steps three two"]
    shared_units: Int[np.ndarray, "steps three two"]
    slot_units: Int[np.ndarray, "steps three two"]
    writes_rest: Bool[np.ndarray, " steps"]
    reads: Int[np.ndarray, " reads"]


@dataclass(frozen=True)
class Schedule:
    """What changes: nodes that count at every position, then those that count where it is scored.

    A node is needed everywhere if a kept path leads from it through some key or value; every other
    needed one only at the scored positions, because all else is position-local. The first never
    read the second.

    Attributes:
        everywhere, scored, logits: the steps; the last table has one step, the reading of the
            logits.
        candidate: base of the reader whose inputs are candidates.
        candidate_everywhere: the candidates' inputs count at every position.
        n_slots: slots that the steps of ``everywhere`` and of ``scored`` take, the candidate's
            inputs included.
        touched: nodes that the steps compute; the last entry stands for units with steps of their
            own.
    """

    everywhere: StepTable
    scored: StepTable
    logits: StepTable
    candidate: int
    candidate_everywhere: bool
    n_slots: tuple[int, int]
    touched: Nodes

    @property
    def n_reads(self) -> int:
        """How many sums over all positions each candidate takes."""
        everywhere = self.everywhere
        n_units = UNITS_AT_ONCE * everywhere.slot_units[..., 1].sum()
        return int(everywhere.slots[..., 1].sum() + n_units)


class InputSources(NamedTuple):
    """One input of a step: a base, plus nodes that all candidates share, plus slots.

    Units likewise: numbers of those that all candidates share, and of those that steps compute.
    """

    base: int
    shared: Sequence[int] = ()
    slots: Sequence[int] = ()
    shared_units: Sequence[int] = ()
    slot_units: Sequence[int] = ()

    @property
    def differs(self) -> bool:
        """Whether candidates have different inputs."""
        return bool(self.slots or self.slot_units)


class NodeStep(NamedTuple):
    """One node to compute, as `StepTable` lists them."""

    kind: int
    layer: int
    head: int
    node: int
    slot: int
    inputs: tuple[InputSources, ...]
    writes_rest: bool = True


def make_table(steps: Sequence[NodeStep], most: int, no_unit: int) -> StepTable:
    """Steps as padded arrays; the number of reads is rounded up, for the same reason.

    Args:
        most: how many steps a table may have.
        no_unit: a number that no unit has.
    """
    reads: list[int] = []
    parts = {name: np.zeros((most, 3, 2), np.int32) for name in InputSources._fields[1:]}
    base = np.zeros((most, 3), np.int32)
    # rows: kind, layer, head, node, slot, as `NodeStep` has them first
    facts, writes_rest = np.zeros((5, most), np.int32), np.ones(most, bool)
    for i, step in enumerate(steps):
        facts[:, i], writes_rest[i] = step[:5], step.writes_rest
        for j, sources in enumerate(step.inputs):
            base[i, j] = sources.base
            for name, where in parts.items():
                listed, size = list(getattr(sources, name)), 1
                if name.endswith("units"):
                    listed, size = _fill_portions(listed, no_unit), UNITS_AT_ONCE
                where[i, j] = len(reads), len(listed) // size
                reads += listed
    padded = np.zeros(max(64, round_up(len(reads))), np.int32)
    padded[: len(reads)] = reads
    kind, layer, head, node, slot = facts
    return StepTable(
        *(np.int32(len(steps)), kind, layer, head, node, slot, base),
        **parts,
        writes_rest=writes_rest,
        reads=padded,
    )


def _fill_portions(numbers: list[int], filling: int) -> list[int]:
    """The numbers, filled up to whole portions."""
    return numbers + [filling] * (-len(numbers) % UNITS_AT_ONCE)


def round_up(n: int) -> int:
    """The next power of four, so that a shrinking circuit seldom needs another program."""
    size = 1
    while size < n:
        size *= 4
    return size


class Scheduler:
    """Plans what follows from a change, under one set of kept edges.

    ``fixed_slots``: every schedule has slots for all nodes, so that one program serves all
    schedules; else each has as few slots as will do.
    """

    def __init__(self, dependencies: Dependencies, kept: EdgeMatrix, fixed_slots: bool) -> None:
        self.dependencies = dependencies
        self.fixed_slots = fixed_slots
        self.kept = kept
        self.needed, self.everywhere = dependencies.find_needed_writers(kept)
        # not as in the clean run
        self.unclean = dependencies.find_changed_writers(
            kept, dependencies.find_incomplete_writers(kept)
        )

    def schedule_update(self, roots: Writers) -> Schedule:
        """The schedule that computes ``roots`` and all that changes with them, without slots."""
        changed = self.dependencies.find_changed_writers(self.kept, roots)
        builder = _ScheduleBuilder(self, changed, None)
        everywhere, scored = builder.make_steps(True, ()), builder.make_steps(False, ())
        return builder.build_schedule(everywhere, scored, (0, 0))

    def schedule_candidates(self, reader: int) -> Schedule:
        """The schedule that computes what changes with one reader's input, for its candidates."""
        roots = self.dependencies.find_writers_fed_by(np.arange(len(self.kept)) == reader)
        builder = _ScheduleBuilder(
            self, self.dependencies.find_changed_writers(self.kept, roots), reader
        )
        if not builder.candidate_everywhere:
            scored = builder.make_steps(False, [CANDIDATE])
            n_scored = self._count_slots(len(builder.slots), 16)
            return builder.build_schedule([], scored, (0, n_scored))
        everywhere = builder.make_steps(True, [CANDIDATE])
        n = self._count_slots(len(builder.slots), 4)
        builder.slots += [None] * (n - len(builder.slots))
        scored = builder.make_steps(False, ())
        n_scored = self._count_slots(len(builder.slots) - n, 16)
        return builder.build_schedule(everywhere, scored, (n, n_scored))

    def _count_slots(self, n: int, least: int) -> int:
        most = self.dependencies.n_nodes + 1
        return most if self.fixed_slots else min(most, max(least, round_up(n)))

    def find_live_heads(
        self, layer: int
    ) -> tuple[Bool[np.ndarray, " heads"], Bool[np.ndarray, " heads"]]:
        """The heads of a layer whose inputs matter.

        Returns:
            Those whose inputs matter at all, and those whose inputs matter at every position.
        """
        heads = self.dependencies.heads[layer]
        live, live_everywhere = self.needed[heads], self.everywhere[heads]
        if self.dependencies.graph.coupled:
            live = np.full(live.shape, live.any())
            live_everywhere = np.full(live.shape, live_everywhere.any())
        return live, live_everywhere

    def counts_everywhere(self, reader: int) -> bool:
        """Whether a reader's input counts at every position; for one that counts at all."""
        r = self.dependencies.graph.readers[reader]
        if r.kind == "q":
            return bool(self.find_live_heads(r.node.layer)[1][r.node.index])
        return r.kind in ATTENTION_INPUTS or (
            r.node.is_in_mlp
            and bool(self.everywhere[self.dependencies.grid.column[list(r.feeds)]].any())
        )


_NO_SLOT = np.iinfo(np.int32).max  # beyond all slots
CANDIDATE = -1  # stands in the list of slots for the input that differs from candidate to candidate


class _ScheduleBuilder:
    """The steps of one schedule under way.

    ``slots`` lists which node each slot holds, ``slot_units`` the units that steps compute.
    """

    def __init__(self, scheduler: Scheduler, changed: Writers, candidate: int | None) -> None:
        self.scheduler = scheduler
        self.dependencies = scheduler.dependencies
        self.changed = changed
        self.candidate = candidate
        self.candidate_everywhere = candidate is not None and scheduler.counts_everywhere(candidate)
        self.slots: list[int | None] = []
        self.slot_units: set[int] = set()

    def build_schedule(
        self, everywhere: list[NodeStep], scored: list[NodeStep], n_slots: tuple[int, int]
    ) -> Schedule:
        dependencies = self.dependencies
        logits = len(self.scheduler.kept) - 1
        final = [NodeStep(MLP, 0, 0, 0, 0, (self.find_sources(logits),))]
        first, second, last = (
            make_table(steps, dependencies.n_steps, len(self.changed))
            for steps in (everywhere, scored, final)
        )
        touched = np.zeros(dependencies.n_nodes + 1, bool)
        touched[[step.node for step in (*everywhere, *scored)]] = True
        base = dependencies.zero_base
        if self.candidate is not None:
            base = int(dependencies.base[self.candidate])
        return Schedule(first, second, last, base, self.candidate_everywhere, n_slots, touched)

    def make_steps(self, everywhere: bool, slots: Sequence[int]) -> list[NodeStep]:
        """Steps of the changed nodes: those that count at every position, or the others."""
        self.slots += slots
        steps: list[NodeStep] = []
        for layer in range(self.dependencies.graph.n_layers):
            generators = (
                self._make_head_steps,
                self._make_post_norm_steps,
                self._make_mlp_steps,
                self._make_unit_steps,
            )
            # a step takes its slot before the next one is made, which may read that slot
            for step in itertools.chain.from_iterable(g(layer, everywhere) for g in generators):
                if step.kind == UNIT:
                    steps.append(step)
                    continue
                steps.append(step._replace(slot=len(self.slots)))
                if self.candidate is not None:
                    self.slots.append(step.node)
        return steps

    def _make_head_steps(self, layer: int, everywhere: bool) -> Iterator[NodeStep]:
        """Each head by itself; for candidates, only heads with an input that changes.

        Other heads change under a post-norm alone, by the divisor, which has steps of its own.
        """
        dependencies = self.dependencies
        live, live_everywhere = self.scheduler.find_live_heads(layer)
        due = self.changed[dependencies.heads[layer]] & live & (live_everywhere == everywhere)
        for head in np.flatnonzero(due).tolist():
            readers = dependencies.head_inputs[layer, head].tolist()  # q, k, v
            inputs = tuple(self.find_sources(reader) for reader in readers)
            if self.candidate is None or any(sources.differs for sources in inputs):
                yield NodeStep(HEAD, layer, head, dependencies.raw_node(layer, head), 0, inputs)

    def _make_post_norm_steps(self, layer: int, everywhere: bool) -> Iterator[NodeStep]:
        dependencies, heads = self.dependencies, self.dependencies.heads[layer]
        if not dependencies.graph.coupled:
            return
        raws = [dependencies.raw_node(layer, h) for h in range(len(heads))]
        due = (
            self.changed[heads]
            & self.scheduler.needed[heads]
            & (self.scheduler.everywhere[heads] == everywhere)
        )
        for head in np.flatnonzero(due).tolist():
            inputs = (self._sum_nodes([raws[head]]), self._sum_nodes(raws))
            yield NodeStep(POST_NORM, layer, head, int(heads[head]), 0, inputs)

    def _make_mlp_steps(self, layer: int, everywhere: bool) -> Iterator[NodeStep]:
        needed, needed_everywhere = self.scheduler.needed, self.scheduler.everywhere
        units = self.dependencies.units[layer]
        for node, reader in self.dependencies.list_mlps(layer):
            parts = self.dependencies.list_parts(layer)  # all where one of them is needed
            if not (self.changed[node] and needed[parts].any()):
                continue
            if needed_everywhere[parts].any() == everywhere:
                sources = self.find_sources(reader)
                if self.candidate is not None and not self.dependencies.graph.has_own_inputs:
                    first = self.dependencies.graph.n_vectors
                    self.slot_units.update(column - first for column in units)
                yield NodeStep(MLP, layer, 0, node, 0, (sources,), bool(needed[node]))
                for error in self.dependencies.grid.errors[layer].tolist():
                    if error in parts and needed[error]:
                        yield NodeStep(ERROR, layer, 0, error, 0, (sources,))

    def _make_unit_steps(self, layer: int, everywhere: bool) -> Iterator[NodeStep]:
        """Each unit by itself, where units have inputs of their own."""
        dependencies, scheduler = self.dependencies, self.scheduler
        columns, readers = dependencies.own_units[layer]
        due = self.changed[columns] & scheduler.needed[columns]
        due &= scheduler.everywhere[columns] == everywhere
        nowhere = dependencies.n_nodes
        for place in np.flatnonzero(due).tolist():
            sources = self.find_sources(int(readers[place]))
            if self.candidate is not None:
                self.slot_units.add(int(columns[place]) - dependencies.graph.n_vectors)
            yield NodeStep(UNIT, layer, place, nowhere, _NO_SLOT, (sources,))

    def find_sources(self, reader: int) -> InputSources:
        """Where a reader's input comes from.

        It is the clean stream if nothing in the input has changed or is missing.
        """
        dependencies = self.dependencies
        row, legal = self.scheduler.kept[reader], dependencies.legal[reader]
        if reader == self.candidate:
            return InputSources(dependencies.zero_base, (), (self.slots.index(CANDIDATE),))
        if (row == legal).all() and not (legal & (self.scheduler.unclean | self.changed)).any():
            return InputSources(int(dependencies.base[reader]) + dependencies.clean_base)
        return self._sum_writers(np.flatnonzero(row), int(dependencies.base[reader]))

    def _sum_writers(self, columns: Int[np.ndarray, " kept"], base: int) -> InputSources:
        """The sum of writers: nodes come first, then units."""
        first = self.dependencies.graph.n_vectors
        units = (columns[columns >= first] - first).tolist()
        return self._sum_nodes(columns[columns < first].tolist(), base)._replace(
            shared_units=[unit for unit in units if unit not in self.slot_units],
            slot_units=[unit for unit in units if unit in self.slot_units],
        )

    def _sum_nodes(self, nodes: Sequence[int], base: int | None = None) -> InputSources:
        held = {node: slot for slot, node in enumerate(self.slots)}
        return InputSources(
            self.dependencies.zero_base if base is None else base,
            [node for node in nodes if node not in held],
            [held[node] for node in nodes if node in held],
        )
