"""What has to be computed again when some readers' inputs change, and from what; planned without
any model.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int

from circuitgraph.engine.frontier.dependencies import Kept, Wiring, Writers
from circuitgraph.graph.node import ATTENTION_INPUTS

Nodes = Bool[np.ndarray, " nodes"]
HEAD, MLP, SHARE = range(3)  # what a step computes; SHARE: a head's part of a post-norm's output


class Table(NamedTuple):
    """Steps in an order in which they can be computed, each with up to three inputs to sum (q, k,
    v; an MLP has one).

    Attributes:
        n: how many steps; the arrays are padded, so that one program serves many tables.
        kind, layer, head, node: what a step computes.
        slot: where a step's value for each candidate goes.
        base: which base an input starts from.
        shared, slots: start and length in ``reads`` of the nodes that an input adds: those that are
            the same for all candidates, and those that lie in slots.
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
    reads: Int[np.ndarray, " reads"]


@dataclass(frozen=True)
class Schedule:
    """What changes: nodes whose value counts at every position, then those that count at the scored
    one only.

    A node is needed everywhere if a kept path leads from it through some key or value; every other
    needed one only at the scored positions, because all else is position-local. The first never
    read the second.

    Attributes:
        everywhere, scored, logits: the steps; the last table has one step, the reading of the
            logits.
        candidate: base of the reader whose inputs are candidates.
        wide: the candidates' inputs are needed everywhere.
        n_slots: slots that the steps of ``everywhere`` and of ``scored`` take, the candidate's
            inputs included.
        touched: nodes that the steps compute.
    """

    everywhere: Table
    scored: Table
    logits: Table
    candidate: int
    wide: bool
    n_slots: tuple[int, int]
    touched: Nodes

    @property
    def n_reads(self) -> int:
        """How many sums over all positions each candidate takes."""
        return int(self.everywhere.slots[..., 1].sum())


class Read(NamedTuple):
    """One input of a step: a base, plus nodes that all candidates share, plus slots."""

    base: int
    shared: Sequence[int] = ()
    slots: Sequence[int] = ()


class Step(NamedTuple):
    """One node to compute, as `Table` lists them."""

    kind: int
    layer: int
    head: int
    node: int
    slot: int
    reads: tuple[Read, ...]


def tabled(steps: Sequence[Step], n_nodes: int) -> Table:
    """Steps as padded arrays. The number of reads is rounded up to a power of four, for the same
    reason.
    """
    reads: list[int] = []
    shared, slots = (np.zeros((n_nodes, 3, 2), np.int32) for _ in range(2))
    base = np.zeros((n_nodes, 3), np.int32)
    facts = np.zeros((5, n_nodes), np.int32)
    for i, step in enumerate(steps):
        facts[:, i] = step[:5]
        for j, read in enumerate(step.reads):
            base[i, j] = read.base
            for where, listed in ((shared, read.shared), (slots, read.slots)):
                where[i, j] = len(reads), len(listed)
                reads += listed
    padded = np.zeros(max(64, rounded(len(reads))), np.int32)
    padded[: len(reads)] = reads
    kind, layer, head, node, slot = facts
    return Table(np.int32(len(steps)), kind, layer, head, node, slot, base, shared, slots, padded)


def rounded(n: int) -> int:
    """The next power of four, so that a shrinking circuit seldom needs another program."""
    size = 1
    while size < n:
        size *= 4
    return size


class Scheduler:
    """Plans what follows from a change, under one set of kept edges.

    ``roomy``: give every schedule slots for all nodes, so that one program serves all; else as few
        as will do.
    """

    def __init__(self, wiring: Wiring, kept: Kept, roomy: bool) -> None:
        self.wiring = wiring
        self.roomy = roomy
        self.kept = kept
        self.needed, self.everywhere = wiring.needed(kept)
        self.dirty = wiring.changed(kept, wiring.incomplete(kept))  # not as in the clean run

    def settling(self, roots: Writers) -> Schedule:
        """To compute ``roots``, and all that changes with them, once for all: nothing lies in
        slots.
        """
        changed = self.wiring.changed(self.kept, roots)
        plan = _Plan(self, changed, None)
        return plan.schedule(plan.steps(True, ()), plan.steps(False, ()), (0, 0))

    def testing(self, reader: int) -> Schedule:
        """To compute what changes with one reader's input, for candidates of it."""
        roots = self.wiring.fed_by(np.arange(len(self.kept)) == reader)
        plan = _Plan(self, self.wiring.changed(self.kept, roots), reader)
        if not plan.wide:
            scored = plan.steps(False, [CANDIDATE])
            return plan.schedule([], scored, (0, self._room(1 + len(scored), 16)))
        everywhere = plan.steps(True, [CANDIDATE])
        n = self._room(1 + len(everywhere), 4)
        plan.slots += [None] * (n - len(plan.slots))
        scored = plan.steps(False, ())
        return plan.schedule(everywhere, scored, (n, self._room(len(scored), 16)))

    def _room(self, n: int, least: int) -> int:
        most = self.wiring.n_nodes + 1
        return most if self.roomy else min(most, max(least, rounded(n)))

    def live(self, layer: int) -> tuple[Bool[np.ndarray, " heads"], Bool[np.ndarray, " heads"]]:
        """The heads of a layer whose inputs matter, and those whose inputs matter at every
        position.
        """
        heads = self.wiring.heads[layer]
        live, wide = self.needed[heads], self.everywhere[heads]
        if self.wiring.graph.coupled:
            return np.full(live.shape, live.any()), np.full(wide.shape, wide.any())
        return live, wide

    def is_wide(self, reader: int) -> bool:
        """Whether a reader's input counts at every position; for one that counts at all."""
        r = self.wiring.graph.readers[reader]
        if r.kind == "q":
            return bool(self.live(r.node.layer)[1][r.node.index])
        return r.kind in ATTENTION_INPUTS or (
            r.kind == "mlp" and bool(self.everywhere[self.wiring.mlps[r.node.layer]])
        )


CANDIDATE = -1  # stands in the list of slots for the input that differs from candidate to candidate


class _Plan:
    """The steps of one schedule under way. ``slots`` lists which node each slot holds."""

    def __init__(self, scheduler: Scheduler, changed: Writers, candidate: int | None) -> None:
        self.s = scheduler
        self.changed = changed
        self.candidate = candidate
        self.wide = candidate is not None and scheduler.is_wide(candidate)
        self.slots: list[int | None] = []

    def schedule(
        self, everywhere: list[Step], scored: list[Step], n_slots: tuple[int, int]
    ) -> Schedule:
        wiring = self.s.wiring
        logits = len(self.s.kept) - 1
        final = [Step(MLP, 0, 0, 0, 0, (self.read(logits),))]
        first, second, last = (
            tabled(steps, wiring.n_nodes) for steps in (everywhere, scored, final)
        )
        touched = np.zeros(wiring.n_nodes, bool)
        touched[[step.node for step in (*everywhere, *scored)]] = True
        base = wiring.nothing if self.candidate is None else int(wiring.base[self.candidate])
        return Schedule(first, second, last, base, self.wide, n_slots, touched)

    def steps(self, wide: bool, slots: Sequence[int]) -> list[Step]:
        """The changed nodes that count at every position, or those that count where it is scored
        only.
        """
        self.slots += slots
        found: list[Step] = []
        for layer in range(self.s.wiring.graph.n_layers):
            # one after the other: a later step reads the slots of those before
            for step in chain(
                self._heads(layer, wide), self._shares(layer, wide), self._mlp(layer, wide)
            ):
                found.append(step._replace(slot=len(self.slots)))
                if self.candidate is not None:
                    self.slots.append(step.node)
        return found

    def _heads(self, layer: int, wide: bool) -> Iterator[Step]:
        """Each head by itself; for candidates under a post-norm, those of its layer that have an
        input that changes.
        """
        wiring = self.s.wiring
        live, everywhere = self.s.live(layer)
        for head in np.flatnonzero(
            self.changed[wiring.heads[layer]] & live & (everywhere == wide)
        ).tolist():
            reads = tuple(self.read(reader) for reader in wiring.inputs[layer, head].tolist())
            if self.candidate is None or any(read.slots for read in reads):
                yield Step(HEAD, layer, head, wiring.raw(layer, head), 0, reads)

    def _shares(self, layer: int, wide: bool) -> Iterator[Step]:
        wiring, heads = self.s.wiring, self.s.wiring.heads[layer]
        if not wiring.graph.coupled:
            return
        raws = [wiring.raw(layer, h) for h in range(len(heads))]
        due = self.changed[heads] & self.s.needed[heads] & (self.s.everywhere[heads] == wide)
        for head in np.flatnonzero(due).tolist():
            yield Step(
                SHARE, layer, head, int(heads[head]), 0, (self._sum([raws[head]]), self._sum(raws))
            )

    def _mlp(self, layer: int, wide: bool) -> Iterator[Step]:
        wiring = self.s.wiring
        for node in wiring.mlps[layer : layer + 1].tolist():
            if self.changed[node] and self.s.needed[node] and self.s.everywhere[node] == wide:
                yield Step(MLP, layer, 0, node, 0, (self.read(int(wiring.mlp_inputs[layer])),))

    def read(self, reader: int) -> Read:
        """Where a reader's input comes from: the clean stream, if nothing in it has changed or is
        missing.
        """
        wiring, row, legal = self.s.wiring, self.s.kept[reader], self.s.wiring.graph.legal[reader]
        if reader == self.candidate:
            return Read(wiring.nothing, (), (self.slots.index(CANDIDATE),))
        if (row == legal).all() and not (legal & (self.s.dirty | self.changed)).any():
            return Read(int(wiring.base[reader]) + wiring.clean_base)
        return self._sum(np.flatnonzero(row).tolist(), int(wiring.base[reader]))

    def _sum(self, nodes: Sequence[int], base: int | None = None) -> Read:
        held = {node: slot for slot, node in enumerate(self.slots)}
        return Read(
            self.s.wiring.nothing if base is None else base,
            [node for node in nodes if node not in held],
            [held[node] for node in nodes if node in held],
        )
