"""Knock-out curves: heads knocked out by the order of their effect; the same heads elsewhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from circuitgraph.analysis.base import analysis
from circuitgraph.analysis.knock_out_curves import (
    Heads,
    KnockOutCurve,
    measure_curve,
    measure_singles,
)
from circuitgraph.analysis.measuring import estimate_cell, make_series
from circuitgraph.analysis.named_nodes import find_heads, find_readers
from circuitgraph.analysis.path_patches import patch_paths
from circuitgraph.catalog.analysis_record import (
    Cell,
    CurvesRecord,
    Reading,
    SeriesRecord,
    TableRecord,
)
from circuitgraph.engine.experiment import Experiment
from circuitgraph.errors import DataError, check_at_least
from circuitgraph.evaluation.faithfulness import count_seen
from circuitgraph.models.language_model import LanguageModel
from circuitgraph.tasks.base import Task
from circuitgraph.tasks.loading import load_task
from circuitgraph.tasks.prompts import Prompts, Split

Order = Literal["effect", "paths"]
Scores = Mapping[int, float]  # by the writer: the change of the mean metric
Place = tuple[Task, Prompts]


@analysis(
    "knock-out",
    source="Zhang et al. 2024",
    cannot_tell="what the heads compute, or that they are enough: a behaviour also breaks where a "
    "head that it merely rests on is gone, and backups may hide one that matters.",
)
def read_knock_out(
    model: LanguageModel,
    task: Task,
    prompts: Prompts,
    bar: bool = False,
    *,
    heads: tuple[str, ...] = (),
    order: Order = "effect",
    ablation: str = "mean",
    metric: str | None = None,
    most: int = 20,
    draws: int = 20,
    seed: int = 0,
    transfer: tuple[str, ...] = (),
    key: int | None = None,
) -> Reading:
    """Heads knocked out together, one more at a time, beside other heads drawn at random.

    Args:
        heads: which, in their order; by default all, ranked on as many prompts of the split
            ``discovery``.
        order: rank by what knocking out a head alone does (``effect``), or by what its paths into
            the logits do, through MLPs (``paths``: key heads).
        ablation: what an edge out of a head carries when the head is out.
        metric: by default each task's own.
        most: heads that are knocked out together, at most; of ranked ones at most half of all.
        draws: random sets of each size. seed: of these draws.
        transfer: other tasks, or files of pairs, on which the key heads are knocked out too.
        key: how many heads are tried there; by default those from whose number on
            the curve stays outside the random band.

    Raises:
        UnknownNameError, ArgumentError: heads, a metric, an ablation or tasks that there are not.
        DataError: prompts that the metric, the ablation or the order cannot use.
    """
    for name, number, least in (
        ("most", most, 1),
        ("draws", draws, 2),
        ("key", 1 if key is None else key, 1),
    ):
        check_at_least(name, number, least)
    named = find_heads(model.graph(), heads)[:most] if heads else None
    others = [load_task(name, model) for name in transfer]
    places: list[Place] = [(task, prompts)]
    places += [(other, _draw_prompts(other, "evaluation", len(prompts))) for other in others]
    ranking = prompts if named else _draw_prompts(task, "discovery", len(prompts))
    setup = _Setup(model, metric, ablation, draws, seed, bar)
    experiments = [setup.make_experiment(place) for place in ((task, ranking), *places)]
    scores = setup.score_heads(experiments[0], ranking, named, order)
    chosen = list(scores)[: most if named else min(most, max(1, len(scores) // 2))]
    curve = measure_curve(experiments[1], chosen, draws=draws, seed=seed, bar=bar)
    n_key = key or curve.random.find_exits(curve.means)[1] or len(chosen)
    tables = [_make_curve_table(experiments[1], curve, chosen, scores), _make_summary(curve)]
    if transfer:
        tables.append(setup.compare_places(places, experiments[1:], chosen[:n_key]))
    n_seen = 0 if named else count_seen(prompts, ranking)
    return Reading(
        tables=tables,
        pictures=[_draw_curves(experiments[1], curve)],
        notes=[
            "Random heads are none of those that stand knocked out beside them.",
            *([f"{n_seen} of the prompts were among those of the ranking."] if n_seen else []),
        ],
    )


def _draw_prompts(task: Task, split: Split, n: int) -> Prompts:
    """That many prompts, or all where there are fewer."""
    supply = task.count_pairs(split)
    if supply == 0:
        raise DataError(f"{task.name!r} has no pair for {split}: use another file, or name heads.")
    return task.prompts(min(n, supply or n), split)


@dataclass(frozen=True)
class _Setup:
    """What is the same wherever heads are knocked out."""

    model: LanguageModel
    metric: str | None
    ablation: str
    draws: int
    seed: int
    bar: bool

    def make_experiment(self, place: Place) -> Experiment:
        task, prompts = place
        metric = self.metric or task.metric
        return Experiment(
            self.model, prompts, metric=metric, ablation=self.ablation, frontier=False
        )

    def score_heads(
        self, experiment: Experiment, prompts: Prompts, named: Heads | None, order: Order
    ) -> Scores:
        """The change of the mean metric by each head: the largest first, or in the order named."""
        graph = experiment.graph
        heads = named or find_heads(graph, ["heads"])
        if order == "paths":
            into = find_readers(graph, ["logits"])
            patches, metric = [[head] for head in heads], experiment.metric.name
            patched = patch_paths(self.model, prompts, patches, into, metric=metric, bar=self.bar)
            changes = patched.changes
        else:
            changes = measure_singles(experiment, heads, bar=self.bar)
        scores = dict(zip(heads, changes.tolist(), strict=True))
        return scores if named else dict(sorted(scores.items(), key=lambda pair: -abs(pair[1])))

    def compare_places(
        self, places: Sequence[Place], experiments: Sequence[Experiment], heads: Heads
    ) -> TableRecord:
        """What the same heads do on each task, beside random ones."""
        rows: list[list[Cell]] = []
        for (task, _), experiment in zip(places, experiments, strict=True):
            curve = measure_curve(
                experiment, heads, draws=self.draws, seed=self.seed, steps=False, bar=self.bar
            )
            share, band = experiment.metric.is_share, curve.random.bands[-1]
            whole, out = (estimate_cell(values, share=share) for values in curve.values)
            rows.append(
                [
                    task.name,
                    experiment.metric.name,
                    whole,
                    out,
                    band,
                    curve.random.find_exits(curve.means)[0] is not None,
                ]
            )
        names = ", ".join(experiments[0].graph.writers[head].name for head in heads)
        return TableRecord(
            title=f"The same heads elsewhere: {names}",
            columns=["task", "metric", "whole", "without them", "without random", "outside"],
            rows=rows,
        )


def _make_curve_table(
    experiment: Experiment, curve: KnockOutCurve, heads: Heads, scores: Scores
) -> TableRecord:
    metric, whole = experiment.metric, float(curve.values[0].mean())
    singles = np.cumsum([whole, *(scores[head] for head in heads)])
    names = ["", *(experiment.graph.writers[head].name for head in heads)]
    rows: list[list[Cell]] = [
        [
            k,
            name,
            scores[heads[k - 1]] if k else None,
            estimate_cell(curve.values[k], share=metric.is_share),
            float(singles[k]),
            curve.random.bands[k - 1] if k else None,
            curve.by_layer.bands[k - 1] if k else None,
        ]
        for k, name in enumerate(names)
    ]
    return TableRecord(
        title=f"{metric.name} with more and more heads knocked out ({experiment.ablation.name}), "
        "beside random heads and random heads of the same layers (mean, 5 to 95 %)",
        columns=["out", "head", "score", "together", "sum of scores", "random", "by layer"],
        rows=rows,
    )


def _make_summary(curve: KnockOutCurve) -> TableRecord:
    controls = {"random": curve.random, "random by layer": curve.by_layer}
    means = curve.means
    return TableRecord(
        title="Numbers of heads at which the curve leaves the band, and the mean distance from the "
        "random mean",
        columns=["control", "leaves the band at", "stays outside from", "distance"],
        rows=[
            [name, *control.find_exits(means), control.measure_distance(means)]
            for name, control in controls.items()
        ],
    )


def _draw_curves(experiment: Experiment, curve: KnockOutCurve) -> CurvesRecord:
    metric, series = experiment.metric, []
    for name, control in (("random heads", curve.random), ("of the same layers", curve.by_layer)):
        # without any head out there is nothing to draw
        bands = [None, *control.bands]
        y, low, high = (
            [None if band is None else getattr(band, part) for band in bands]
            for part in ("mean", "low", "high")
        )
        series.append(SeriesRecord(name=name, y=y, low=low, high=high))
    by_effect = make_series("by effect", curve.values, share=metric.is_share)
    return CurvesRecord(
        title=f"{metric.name} with heads knocked out ({experiment.ablation.name})",
        x_axis="heads knocked out",
        y_axis=metric.name,
        x=list(range(len(curve.values))),
        series=[by_effect, *series],
    )
