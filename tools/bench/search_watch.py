"""Watching a search from outside: what it tested when, its launches and their operations."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Bool

from circuitgraph.discovery.acdc import Acdc
from circuitgraph.discovery.acdc_state import AcdcState
from circuitgraph.engine.experiment import Experiment
from circuitgraph.engine.frontier.operations import (
    OperationSizes,
    count_candidate_operations,
    count_masked_operations,
    count_update_operations,
)
from circuitgraph.engine.frontier.schedule import Schedule
from circuitgraph.graph.graph import Graph
from tools.bench.search_cases import Compiling, Progress


@dataclass
class Counts:
    """What an experiment was asked and what it launched.

    Attributes:
        rows: edges asked about; each is a row of a launch, and counts only if the guesses before it
            came true.
        computed: rows computed, those included that only fill a launch up.
        launches, settlings, whole: of candidates; of bringing values up to date; of whole masked
            runs.
        operations: of all three.
    """

    rows: int = 0
    computed: int = 0
    launches: int = 0
    settlings: int = 0
    whole: int = 0
    operations: int = 0

    def count_from_now(self, experiment: Experiment, sizes: OperationSizes) -> None:
        """Count all that is asked from now on."""
        frontier, lanes = experiment.frontier, experiment.candidate_counts[0]

        def count_asked(*question: Any, **_: Any) -> None:
            self.rows += len(question[1])  # mask, edges, ...

        def count_launch(schedule: Schedule, rows: np.ndarray) -> None:
            groups = -(-len(rows) // lanes)
            self.launches += 1
            self.computed += groups * lanes
            self.operations += groups * count_candidate_operations(schedule, sizes, lanes)

        def count_update(schedule: Schedule) -> None:
            self.settlings += 1
            self.operations += count_update_operations(schedule, sizes)

        def count_masked_runs(masks: np.ndarray) -> None:
            self.whole += -(-len(masks) // experiment.sizes.masks)
            self.computed += len(masks)
            self.operations += len(masks) * count_masked_operations(sizes)

        _call_before(experiment, "removal_losses", count_asked)
        _call_before(experiment._masked, "values", count_masked_runs)
        if frontier is not None:
            _call_before(frontier, "_run_launch", count_launch)
            # All batches do the same, so that the first one alone is counted.
            state = frontier._states[0]
            _call_before(state, "update_values", lambda _, schedule: count_update(schedule))


def _call_before(owner: Any, name: str, listener: Callable[..., None]) -> None:
    """Have ``hear`` called with the arguments of a method before it is."""
    method = getattr(owner, name)

    def wrapper(*args: Any, **kwargs: Any) -> Any:
        listener(*args, **kwargs)
        return method(*args, **kwargs)

    setattr(owner, name, wrapper)


@dataclass
class Trace:
    """The progress of a search, step by step. ``seconds`` leave compiling out."""

    state: AcdcState
    decided: int = 0
    tested: list[int] = field(default_factory=lambda: [0])
    seconds: list[float] = field(default_factory=lambda: [0.0])
    masks: list[np.ndarray] = field(default_factory=list)

    def rates(self) -> list[float]:
        """Edges tested a second in the first, middle and last third of the tested edges."""
        cuts = np.linspace(0, self.tested[-1], 4)
        at = np.interp(cuts, self.tested, self.seconds)
        return [float(n / max(t, 1e-9)) for n, t in zip(np.diff(cuts), np.diff(at), strict=True)]

    def mask_at(self, share: float) -> Bool[np.ndarray, " edges"]:
        """The edges that were kept when that share of the edges tested in the end had been."""
        step = int(np.searchsorted(self.tested[1:], share * self.tested[-1]))
        return np.unpackbits(self.masks[step], count=len(self.state.mask)).astype(bool)


def watch_search(
    search: Acdc,
    experiment: Experiment,
    compiling: Compiling,
    limit: float = np.inf,
    start: Bool[np.ndarray, " edges"] | None = None,
    enough: int | None = None,
) -> Trace:
    """Search until the end, ``limit`` seconds or ``enough`` tested edges, and note every step.

    Args:
        start: as of `Acdc.init_state`.
    """
    start_time, before, progress = time.perf_counter(), compiling.seconds, Progress()
    trace = Trace(search.init_state(experiment, start))
    total = search.count_progress(trace.state)[1]
    while trace.decided < total:
        trace.state = search.take_step(experiment, trace.state)
        wall, tested = time.perf_counter() - start_time, int(trace.state.tested.sum())
        trace.decided = search.count_progress(trace.state)[0]
        trace.tested.append(tested)
        trace.seconds.append(wall - (compiling.seconds - before))
        trace.masks.append(np.packbits(trace.state.mask))
        share = f"{trace.decided / total:.0%} decided"
        progress.print_now_and_then(f"{wall:.0f} s: {share}, {tested:,} edges tested")
        if wall > limit or (enough is not None and tested >= enough):
            break
    return trace


def draw_random_paths(graph: Graph, n: int, seed: int = 0) -> Bool[np.ndarray, " edges"]:
    """About ``n`` edges on random paths from the embedding to the logits."""
    rng = np.random.default_rng(seed)
    dst, src = graph.ends
    into = np.full(graph.legal.shape, -1)
    into[dst, src] = np.arange(graph.n_edges)
    feeding: dict[int, list[int]] = {}
    for index, reader in enumerate(graph.readers):
        for writer in reader.feeds:
            feeding.setdefault(writer, []).append(index)
    mask = np.zeros(graph.n_edges, bool)
    while mask.sum() < n:
        reader = len(graph.readers) - 1
        while True:
            writer = int(rng.choice(np.flatnonzero(graph.legal[reader])))
            mask[into[reader, writer]] = True
            if writer == 0:
                break
            reader = int(rng.choice(feeding[writer]))
    return mask
