"""Runs of path patching: the metric when some writers reach some readers with other values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float

from circuitgraph.analysis.measuring import choose_metrics, collect_runs
from circuitgraph.analysis.places import check_corrupted
from circuitgraph.engine.batch import Batch, make_batch
from circuitgraph.engine.grid import Grid
from circuitgraph.engine.memory import estimate_row_bytes, memory_limit
from circuitgraph.engine.readings.paths import run_both_sides, run_path_patches
from circuitgraph.graph.graph import Graph
from circuitgraph.models.language_model import LanguageModel
from circuitgraph.progress import Progress, show_progress
from circuitgraph.tasks.metrics import Metric
from circuitgraph.tasks.prompts import Prompts

Through = Literal["direct", "mlps"]
Values = Float[np.ndarray, " batch"]

_PATCHES = 8  # in a launch, one after the other: a bar moves after each
_MOST_PROMPTS = 16  # in a launch
_RUNS_ALIVE = 4  # as many times what one masked run keeps: both sides, the first run, the second


@dataclass(frozen=True)
class PathPatches:
    """The metric of each prompt, plainly on both sides and under each patch."""

    metric: Metric
    clean: Values
    corrupted: Values
    patched: Float[np.ndarray, "patches batch"]

    @property
    def changes(self) -> Float[np.ndarray, " patches"]:
        """What each patch does to the mean."""
        return self.patched.mean(axis=1) - self.clean.mean()

    @property
    def relative_changes(self) -> Float[np.ndarray, " patches"]:
        """`changes` as a share of the clean mean's size; NaN where that is zero."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return self.changes / abs(self.clean.mean())


def patch_paths(
    model: LanguageModel,
    prompts: Prompts,
    senders: Sequence[Sequence[int]],
    receivers: Sequence[int],
    *,
    metric: str | None = None,
    through: Through = "mlps",
    bar: bool = False,
) -> PathPatches:
    """The metric under patches of paths.

    Args:
        senders: numbers of writers, for each patch those that are patched together.
        receivers: numbers of readers, the same for all patches.
        metric: by default ``logit_difference``, or ``logit`` where there are no distractors.
        through: which paths from a sender to a receiver change: its edge alone (``direct``), or
            also those through MLPs on the way (``mlps``).

    Raises:
        UnknownNameError: no metric of that name.
        DataError: prompts without corrupted counterparts, or that the metric cannot score.
    """
    check_corrupted(prompts, "path patching")
    names = ("logit_difference", "logit") if metric is None else (metric,)
    chosen, graph = choose_metrics(model, prompts, names)[0], model.graph()
    sends = np.zeros((len(senders), len(graph.writers)), bool)
    for patch, together in enumerate(senders):
        sends[patch, list(together)] = True
    kept = None  # nothing comes after the logits
    if set(receivers) != {graph.reader_index("logits")}:
        kept = (~np.isin(graph.ends[0], receivers)).astype(np.float32)
    patching = _Patching(model, graph, sends, kept, chosen, through == "mlps" and graph.mlp)
    size = _choose_size(model, graph, prompts)
    n_launches = -(-len(prompts) // size) * -(-len(senders) // _PATCHES)
    with show_progress(n_launches, "path patching", "launch", bar=bar) as progress:
        runs = collect_runs(
            prompts, size, lambda rows: patching.run_batch(make_batch(prompts, rows), progress)
        )
    return PathPatches(chosen, *runs)


@dataclass(frozen=True)
class _Patching:
    """What is patched: writers of each patch, the edges that stay, the paths that carry it."""

    model: LanguageModel
    graph: Graph
    sends: Bool[np.ndarray, "patches writers"]
    kept: Float[np.ndarray, " edges"] | None
    metric: Metric
    through_mlps: bool

    def run_batch(self, batch: Batch, progress: Progress) -> tuple[np.ndarray, ...]:
        """The metric on the clean side, on the corrupted side, and under each patch."""
        network, grid = self.model.transformer, Grid.of(self.graph)
        runs = run_both_sides(network, batch, self.metric)
        patched = []
        for some in _cut_patches(self.sends):
            values = run_path_patches(
                network, batch, runs, grid, some, self.kept, self.metric, self.through_mlps
            )
            patched.append(np.asarray(values))
            progress.advance()
        plain = (np.asarray(runs.clean_values), np.asarray(runs.corrupted_values))
        return (*plain, np.concatenate(patched)[: len(self.sends)])


def _cut_patches(sends: Bool[np.ndarray, "patches writers"]) -> list[np.ndarray]:
    """Launches of equal size; the last patch fills up the last one."""
    starts = range(0, len(sends), _PATCHES)
    return [sends[np.minimum(np.arange(i, i + _PATCHES), len(sends) - 1)] for i in starts]


def _choose_size(model: LanguageModel, graph: Graph, prompts: Prompts) -> int:
    """Prompts of a launch that fit into memory."""
    n_pos, n_scored = prompts.mask.shape[1], prompts.n_scored
    row = _RUNS_ALIVE * estimate_row_bytes(model.spec, graph, n_pos, n_scored)
    return max(1, min(_MOST_PROMPTS, memory_limit() // row))
