"""ACDC at many thresholds in one run: searches share what they ask while they decide alike."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, ClassVar

import numpy as np

from circuitgraph.discovery.acdc import Acdc, AcdcState
from circuitgraph.discovery.base import Steps, found, run
from circuitgraph.discovery.journal import Entry, Journal
from circuitgraph.engine.experiment import Experiment
from circuitgraph.errors import ArgumentError, DataError, check_finite
from circuitgraph.graph.circuit import Circuit


@dataclass(frozen=True)
class Branch:
    """Searches that have decided alike so far.

    Attributes:
        thresholds: theirs, rising.
        state: what all of them know.
    """

    thresholds: tuple[float, ...]
    state: AcdcState


@dataclass(frozen=True)
class SweepState:
    """What an unfinished sweep knows.

    Attributes:
        open: branches to go on with, the next one last. A branch is finished before the next is
            begun, so that the masks that the experiment is asked about follow each other.
        ended: the final states, one for each threshold that is done.
        n_tested: edges tested so far, one that several searches share counted once.
    """

    open: tuple[Branch, ...]
    ended: tuple[tuple[float, AcdcState], ...]
    n_tested: int


@dataclass(frozen=True)
class Sweep(Steps[SweepState]):
    """One ACDC search for each threshold. Each decides exactly as it would alone, in steps of the
    same width.

    A step asks what the next step of all searches of a branch is; those that decide alike from the
    answer stay together. A branch is split where an effect lies between two of its thresholds, and
    that test is shared too.

    Attributes:
        thresholds: strictly increasing.
        search: the other settings; its own threshold is not used.

    Raises:
        ArgumentError: thresholds that are out of order, repeated or not finite, or none.
    """

    name: ClassVar[str] = "acdc"

    thresholds: tuple[float, ...]
    search: Acdc = dataclasses.field(default_factory=Acdc)

    def __post_init__(self) -> None:
        check_thresholds(self.thresholds)
        for threshold in self.thresholds:
            self.at(threshold)

    def at(self, threshold: float) -> Acdc:
        """The search at one threshold."""
        return replace(self.search, threshold=threshold)

    @property
    def arguments(self) -> dict[str, Any]:
        others = {
            name: value for name, value in self.search.arguments.items() if name != "threshold"
        }
        return {**others, "thresholds": list(self.thresholds)}

    def init(self, experiment: Experiment) -> SweepState:
        return SweepState((Branch(self.thresholds, self.search.init(experiment)),), (), 0)

    def step(self, experiment: Experiment, state: SweepState) -> SweepState:
        branch = state.open[-1]
        asking = self.at(
            branch.thresholds[len(branch.thresholds) // 2]
        )  # its guesses are as good as any
        answer = asking.ask(experiment, branch.state)
        return self._split(
            state, [(t, self.at(t).settled(branch.state, answer)) for t in branch.thresholds]
        )

    def _split(self, state: SweepState, after: Sequence[tuple[float, AcdcState]]) -> SweepState:
        """The last branch goes on as one branch for each way in which its searches decided."""
        before = state.open[-1].state
        parts: list[Branch] = []
        for threshold, then in after:  # the higher a threshold, the longer the run of removed edges
            if parts and _alike(parts[-1].state, then):
                parts[-1] = Branch((*parts[-1].thresholds, threshold), parts[-1].state)
            else:
                parts.append(Branch((threshold,), then))
        tested = np.any([part.state.tested & ~before.tested for part in parts], axis=0)
        going = [part for part in parts if not self._ended(part.state)]
        done = [
            (t, part.state) for part in parts if self._ended(part.state) for t in part.thresholds
        ]
        return SweepState(
            (*state.open[:-1], *going[::-1]),
            (*state.ended, *done),
            state.n_tested + int(tested.sum()),
        )

    def _ended(self, state: AcdcState) -> bool:
        done, total = self.search.progress(state)
        return done == total

    def progress(self, state: SweepState) -> tuple[int, int]:
        """Decisions of all searches."""
        parts = [
            (len(branch.thresholds), self.search.progress(branch.state)) for branch in state.open
        ]
        parts += [(1, self.search.progress(ended)) for _, ended in state.ended]
        return sum(n * done for n, (done, _) in parts), sum(n * total for n, (_, total) in parts)

    def entries(self, experiment: Experiment, before: SweepState, after: SweepState) -> list[Entry]:
        """Those of each search that decided in the step, with the thresholds that they are true of."""
        branch = before.open[-1]
        parts = [(b.thresholds, b.state) for b in after.open[len(before.open) - 1 :]]
        parts += [((t,), state) for t, state in after.ended[len(before.ended) :]]
        return [
            {**entry, "at": list(thresholds)}
            for thresholds, state in sorted(parts, key=lambda part: part[0])
            for entry in self.search.entries(experiment, branch.state, state)
        ]

    def resumed(
        self, experiment: Experiment, start: SweepState, entries: Sequence[Entry]
    ) -> SweepState:
        state, heard, complete = start, {}, []
        for entry in entries:
            at = tuple(entry.get("at", ()))
            if not at or not state.open or not set(at) <= set(state.open[-1].thresholds):
                raise DataError(
                    "The journal's entries are not those of a sweep over these thresholds."
                )
            heard.setdefault(at, []).append(entry)
            complete += at if "then" in entry else ()
            if len(complete) == len(
                state.open[-1].thresholds
            ):  # all searches of the branch have been heard
                before = state.open[-1].state
                then = {
                    at: self.search.resumed(experiment, before, part) for at, part in heard.items()
                }
                state = self._split(
                    state,
                    sorted(((t, then[at]) for at in then for t in at), key=lambda part: part[0]),
                )
                heard, complete = {}, []
        return state


def _alike(one: AcdcState, two: AcdcState) -> bool:
    """Whether two searches that were one before the step are still one."""
    return (one.group, one.place) == (two.group, two.place) and np.array_equal(one.mask, two.mask)


@dataclass(frozen=True)
class Swept:
    """The result of a sweep.

    Attributes:
        circuits: one for each threshold, in their order.
        losses: the mean loss of each on the discovery prompts.
        n_tested: edges tested in all.
        n_alone: edges that the searches would have tested one after the other.
        seconds: how long it took.
    """

    circuits: tuple[Circuit, ...]
    losses: tuple[float, ...]
    n_tested: int
    n_alone: int
    seconds: float


def sweep(
    steps: Sweep, experiment: Experiment, *, bar: bool = False, journal: Journal | None = None
) -> Swept:
    """Search at every threshold of ``steps``; arguments and errors as of `search`.

    Returns:
        For each threshold the circuit, with scores, that a search at it alone finds. ``seconds`` of
        its provenance are those of the whole sweep.
    """
    steps.search.check(experiment.metric, experiment.ablation)
    state, seconds = run(steps, experiment, bar=bar, journal=journal)
    final = sorted(state.ended, key=lambda part: part[0])
    return Swept(
        circuits=tuple(found(steps.at(t), experiment, then, seconds) for t, then in final),
        losses=tuple(then.loss for _, then in final),
        n_tested=state.n_tested,
        n_alone=sum(int(then.tested.sum()) for _, then in final),
        seconds=seconds,
    )


def check_thresholds(thresholds: Sequence[float]) -> None:
    """Refuse thresholds that are not strictly increasing finite numbers.

    Raises:
        ArgumentError: names the first one that is wrong.
    """
    if not thresholds:
        raise ArgumentError("No thresholds were given: name at least one.")
    for i, threshold in enumerate(thresholds):
        check_finite(f"threshold number {i + 1}", threshold)
    for i, (one, two) in enumerate(pairwise(thresholds)):
        if two == one:
            raise ArgumentError(
                f"Threshold {one} was given twice: thresholds must be strictly increasing."
            )
        if two < one:
            shown = ", ".join(map(str, sorted(set(thresholds))))
            raise ArgumentError(
                f"Thresholds must be strictly increasing, but number {i + 2}, {two}, comes after "
                f"{one}. In order: {shown}."
            )
