"""ACDC at many thresholds in one run: searches share measurements while they decide alike."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, ClassVar

import numpy as np

from circuitgraph.discovery.acdc import Acdc
from circuitgraph.discovery.acdc_state import AcdcState
from circuitgraph.discovery.base import Search
from circuitgraph.discovery.journal import Journal
from circuitgraph.discovery.journal_lines import Entry
from circuitgraph.discovery.loop import finish_search, run_steps
from circuitgraph.engine.experiment import Experiment
from circuitgraph.errors import ArgumentError, DataError, check_finite
from circuitgraph.graph.circuit import Circuit


@dataclass(frozen=True)
class Branch:
    """Searches that have decided alike so far.

    Attributes:
        thresholds: the searches' thresholds, rising.
        state: the state of all of them.
    """

    thresholds: tuple[float, ...]
    state: AcdcState


@dataclass(frozen=True)
class SweepState:
    """What an unfinished sweep knows.

    Attributes:
        open: unfinished branches, the next one last. A branch is finished before the next one
            begins, so that the masks that the experiment measures follow each other.
        ended: the final states, one for each threshold that is done.
        n_tested: edges tested so far; an edge that several searches share counts once.
    """

    open: tuple[Branch, ...]
    ended: tuple[tuple[float, AcdcState], ...]
    n_tested: int


@dataclass(frozen=True)
class Sweep(Search[SweepState]):
    """One ACDC search for each threshold; each decides exactly as it would alone.

    A step makes one measurement for all searches of a branch; searches that decide alike stay
    together. A branch is split where an effect lies between two of its thresholds, and the searches
    of both parts share that test too.

    Attributes:
        thresholds: strictly increasing.
        search: ACDC with the other settings; its own threshold is not used.

    Raises:
        ArgumentError: thresholds that are out of order, repeated or not finite, or none.
    """

    name: ClassVar[str] = "acdc"

    thresholds: tuple[float, ...]
    search: Acdc = dataclasses.field(default_factory=Acdc)

    def __post_init__(self) -> None:
        check_thresholds(self.thresholds)
        for threshold in self.thresholds:
            self.make_search(threshold)  # refuses settings that make no sense

    def make_search(self, threshold: float) -> Acdc:
        """The search at one threshold."""
        return replace(self.search, threshold=threshold)

    @property
    def arguments(self) -> dict[str, Any]:
        others = {
            name: value for name, value in self.search.arguments.items() if name != "threshold"
        }
        return {**others, "thresholds": list(self.thresholds)}

    def init_state(self, experiment: Experiment) -> SweepState:
        return SweepState((Branch(self.thresholds, self.search.init_state(experiment)),), (), 0)

    def take_step(self, experiment: Experiment, state: SweepState) -> SweepState:
        branch = state.open[-1]
        # The guesses of any threshold would do; those of the middle one suit most searches.
        middle = self.make_search(branch.thresholds[len(branch.thresholds) // 2])
        measured = middle.measure_candidates(experiment, branch.state)
        after = [
            (t, self.make_search(t).decide_edges(branch.state, measured)) for t in branch.thresholds
        ]
        return self._split_branch(state, after)

    def _split_branch(
        self, state: SweepState, after: Sequence[tuple[float, AcdcState]]
    ) -> SweepState:
        """The last branch goes on as one branch for each way in which its searches decided.

        Args:
            after: the state of each of its searches, by rising threshold. The higher a threshold,
                the longer the run of removed edges: equal decisions stand side by side.
        """
        before = state.open[-1].state
        parts: list[Branch] = []
        for threshold, new in after:
            if parts and _decided_alike(parts[-1].state, new):
                parts[-1] = Branch((*parts[-1].thresholds, threshold), parts[-1].state)
            else:
                parts.append(Branch((threshold,), new))
        tested = np.any([part.state.tested & ~before.tested for part in parts], axis=0)
        unfinished = [part for part in parts if not self._is_finished(part.state)]
        finished = [part for part in parts if self._is_finished(part.state)]
        return SweepState(
            # The lowest threshold goes on first: it is last in the list of open branches.
            open=(*state.open[:-1], *unfinished[::-1]),
            ended=(*state.ended, *((t, part.state) for part in finished for t in part.thresholds)),
            n_tested=state.n_tested + int(tested.sum()),
        )

    def _is_finished(self, state: AcdcState) -> bool:
        done, total = self.search.count_progress(state)
        return done == total

    def count_progress(self, state: SweepState) -> tuple[int, int]:
        """Decisions of all searches."""
        parts = [
            (len(branch.thresholds), self.search.count_progress(branch.state))
            for branch in state.open
        ]
        parts += [(1, self.search.count_progress(ended)) for _, ended in state.ended]
        return sum(n * done for n, (done, _) in parts), sum(n * total for n, (_, total) in parts)

    def describe_progress(self, state: SweepState) -> str:
        """Of the branch that goes on next."""
        if not state.open:
            return ""
        branch = state.open[-1]
        at = ", ".join(map(str, branch.thresholds))
        return f"{self.search.describe_progress(branch.state)} at {at}"

    def make_entries(
        self, experiment: Experiment, before: SweepState, after: SweepState
    ) -> list[Entry]:
        """The entries of each branch of the step, with the thresholds that they hold for."""
        branch = before.open[-1]
        parts = [(b.thresholds, b.state) for b in after.open[len(before.open) - 1 :]]
        parts += [((t,), state) for t, state in after.ended[len(before.ended) :]]
        return [
            {**entry, "at": list(thresholds)}
            for thresholds, state in sorted(parts, key=lambda part: part[0])
            for entry in self.search.make_entries(experiment, branch.state, state)
        ]

    def resume_state(
        self, experiment: Experiment, start: SweepState, entries: Sequence[Entry]
    ) -> SweepState:
        state = start
        of_step: dict[
            tuple[float, ...], list[Entry]
        ] = {}  # entries by the thresholds they hold for
        complete: list[float] = []  # thresholds whose entries of this step have all been read
        for entry in entries:
            at = tuple(entry.get("at", ()))
            if not at or not state.open or not set(at) <= set(state.open[-1].thresholds):
                raise DataError(
                    "The journal's entries are not those of a sweep over these thresholds."
                )
            of_step.setdefault(at, []).append(entry)
            complete += at if "then" in entry else ()
            if len(complete) == len(state.open[-1].thresholds):
                before = state.open[-1].state
                after: list[tuple[float, AcdcState]] = []
                for thresholds, of_branch in of_step.items():
                    for threshold in thresholds:
                        search = self.make_search(threshold)
                        new = search.resume_state(experiment, before, of_branch)
                        after.append((threshold, new))
                state = self._split_branch(state, sorted(after, key=lambda pair: pair[0]))
                of_step, complete = {}, []
        return state

    def check_step(
        self, experiment: Experiment, before: SweepState, after: SweepState
    ) -> str | None:
        branch = before.open[-1]
        recorded = {t: part.state for part in after.open for t in part.thresholds}
        recorded |= dict(after.ended)
        for threshold in branch.thresholds:
            search = self.make_search(threshold)
            problem = search.check_step(experiment, branch.state, recorded[threshold])
            if problem is not None:
                return problem
        return None


def _decided_alike(one: AcdcState, two: AcdcState) -> bool:
    """Whether two searches that decided alike before a step do so after it."""
    same_place = (one.group, one.n_decided) == (two.group, two.n_decided)
    return same_place and np.array_equal(one.mask, two.mask)


@dataclass(frozen=True)
class SweepResult:
    """The result of a sweep.

    Attributes:
        circuits: one for each threshold, in their order.
        losses: the mean loss of each circuit on the discovery prompts.
        n_tested: edges tested in all.
        n_alone: edges that the searches would have tested one after the other.
        seconds: how long the sweep took.
    """

    circuits: tuple[Circuit, ...]
    losses: tuple[float, ...]
    n_tested: int
    n_alone: int
    seconds: float


def run_sweep(
    sweep: Sweep, experiment: Experiment, *, bar: bool = False, journal: Journal | None = None
) -> SweepResult:
    """Search at every threshold of a sweep; arguments and errors as of `run_search`.

    Returns:
        For each threshold the circuit, with scores, that a search at it alone finds. ``seconds`` of
        its provenance are those of the whole sweep.
    """
    sweep.search.check_metric(experiment.metric, experiment.ablation)
    sweep.search.check_space(experiment.space)
    state, seconds = run_steps(sweep, experiment, bar=bar, journal=journal)
    final = sorted(state.ended, key=lambda part: part[0])
    return SweepResult(
        circuits=tuple(
            finish_search(sweep.make_search(threshold), experiment, end, seconds)
            for threshold, end in final
        ),
        losses=tuple(end.loss for _, end in final),
        n_tested=state.n_tested,
        n_alone=sum(int(end.tested.sum()) for _, end in final),
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
            in_order = ", ".join(map(str, sorted(set(thresholds))))
            raise ArgumentError(
                f"Thresholds must be strictly increasing, but number {i + 2}, {two}, comes after "
                f"{one}. In order: {in_order}."
            )
