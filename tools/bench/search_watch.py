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
from circuitgraph.engine.frontier.schedule import HEAD, MLP, Schedule, StepTable
from circuitgraph.graph.graph import Graph
from circuitgraph.models.spec import Spec
from tools.bench.search_cases import Compiling, Progress


@dataclass(frozen=True)
class Sizes:
    """Sizes that operation counts need. ``columns``: number of tokens that the metric looks at."""

    spec: Spec
    graph: Graph
    prompts: int
    tokens: int
    columns: int

    @property
    def nodes(self) -> int:
        return len(self.graph.writers)


def count_table_operations(table: StepTable, sizes: Sizes, lanes: int, scored: bool) -> int:
    """Additions and multiplications of a schedule's steps for ``lanes`` candidates side by side.

    A head's step projects q, k and v (2 d d_head for each token; for one lane where all candidates
    share the input, see `sparse._through`), looks (4 d_head for each pair of tokens) and writes (2
    d d_head); an MLP's step is its two or three products; each input is a sum of as many values as
    the table says. Where a step is due at the ``scored`` position only, queries, MLPs and what is
    written are of one token for each prompt; keys and values are of all. Norms, softmax and
    activations are left out, and so are mixtures of experts.
    """
    spec, n = sizes.spec, int(table.n)
    everywhere = sizes.prompts * sizes.tokens
    here = sizes.prompts if scored else everywhere
    kind, shared, slots = table.kind[:n], table.shared[:n, :, 1], table.slots[:n, :, 1]
    heads = kind == HEAD
    # [steps, 3 inputs]: keys and values are of all tokens, queries only of the scored ones
    read_at = np.where(heads[:, None] & (np.arange(3) > 0), everywhere, here)
    sums = int((read_at * (shared + slots * lanes)).sum()) * spec.d_model
    projected = (
        np.where(slots[heads] > 0, lanes, 1) * read_at[heads] * 2 * spec.d_model * spec.d_head
    )
    looked = lanes * here * (4 * sizes.tokens + 2 * spec.d_model) * spec.d_head
    mlp = lanes * here * 2 * (2 + spec.gated) * spec.d_model * (spec.d_mlp or 0)
    return sums + int(projected.sum()) + int(heads.sum()) * looked + int((kind == MLP).sum()) * mlp


def count_update_operations(schedule: Schedule, sizes: Sizes) -> int:
    """Of computing a schedule's nodes once for all."""
    return count_table_operations(schedule.everywhere, sizes, 1, False) + count_table_operations(
        schedule.scored, sizes, 1, True
    )


def count_candidate_operations(schedule: Schedule, sizes: Sizes, lanes: int) -> int:
    """Operations of one group of candidates: inputs (a product with all nodes), steps, logits.

    Lanes that are empty because fewer were asked about count too: they are computed.
    """
    spec, tokens = (
        sizes.spec,
        sizes.prompts * (sizes.tokens if schedule.candidate_everywhere else 1),
    )
    inputs = 2 * lanes * sizes.nodes * tokens * spec.d_model
    steps = count_table_operations(schedule.everywhere, sizes, lanes, False)
    steps += count_table_operations(schedule.scored, sizes, lanes, True)
    final = int(
        (schedule.logits.shared[0, 0, 1] + lanes * schedule.logits.slots[0, 0, 1]) * sizes.prompts
    )
    return (
        inputs
        + steps
        + final * spec.d_model
        + 2 * lanes * sizes.prompts * spec.d_model * sizes.columns
    )


def count_masked_operations(sizes: Sizes) -> int:
    """Operations of one masked run: all heads and MLPs, and all readers' sums as products."""
    spec, tokens = sizes.spec, sizes.prompts * sizes.tokens
    head = 8 * spec.d_model * spec.d_head + 4 * sizes.tokens * spec.d_head
    mlp = 2 * (2 + spec.gated) * spec.d_model * (spec.d_mlp or 0)
    inputs = 2 * (len(sizes.graph.readers) - 1) * sizes.nodes * spec.d_model
    logits = 2 * sizes.prompts * spec.d_model * (spec.d_vocab_out + sizes.nodes)
    return tokens * (spec.n_layers * (spec.n_heads * head + mlp) + inputs) + logits


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

    def count_from_now(self, experiment: Experiment, sizes: Sizes) -> None:
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
