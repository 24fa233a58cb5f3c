"""Concept depth compared: probes of several tasks in several models, side by side."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from pathlib import Path

import numpy as np

from circuitgraph.analysis.base import analysis
from circuitgraph.analysis.measuring import estimate_cell
from circuitgraph.analysis.places import SCORED
from circuitgraph.analysis.probe_examples import ANSWER
from circuitgraph.analysis.probes import ProbedLayers, ProbeSettings, probe_layers
from circuitgraph.catalog.analysis_record import (
    Cell,
    CurvesRecord,
    Reading,
    SeriesRecord,
    TableRecord,
)
from circuitgraph.engine.readings.sites import VectorSite
from circuitgraph.models.language_model import LanguageModel
from circuitgraph.models.loading import load_model
from circuitgraph.tasks.base import Task
from circuitgraph.tasks.loading import load_task
from circuitgraph.tasks.prompts import Prompts

Probed = tuple[str, str, ProbedLayers]  # of a model, on a task


@analysis(
    "probe-depths",
    source="Jin et al. 2024",
    cannot_tell="whether a concept that lies deeper is harder for the model: answers differ in "
    "their number of classes, and models in the width that a probe reads.",
)
def read_probe_depths(
    model: LanguageModel,
    task: Task,
    prompts: Prompts,
    bar: bool = False,
    *,
    others: tuple[str, ...] = (),
    tasks: tuple[str, ...] = (),
    label: str = ANSWER,
    at: str | int = SCORED,
    site: VectorSite = "stream",
    folds: int = 5,
    penalty: float = 1.0,
    shuffles: int = 3,
    seed: int = 0,
) -> Reading:
    """At what depth probes can first name the answer: for several tasks, in several models.

    Args:
        others: names or folders of more models.
        tasks: more tasks, or files of pairs; each model is probed on each task, on as many prompts.
        label, at, site, folds, penalty, shuffles, seed: as of the analysis probes.

    Raises:
        CircuitGraphError: a model, task or setting that does not exist or does not fit.
    """
    settings = ProbeSettings(label, at, site, folds, penalty, shuffles, seed)
    models = [model, *map(load_model, others)]
    probed: list[Probed] = []
    for own, name in product(models, (None, *tasks)):
        chosen, drawn = task, prompts
        if name is not None or own is not model:  # a task is of one tokenizer
            chosen = _load_like(task, name, own, seed)
            drawn = chosen.prompts(len(prompts), "evaluation")
        probed.append((own.name, chosen.name, probe_layers(own, drawn, settings, bar=bar)))
    return Reading(tables=[_make_table(probed)], pictures=_draw_curves(probed))


def _load_like(task: Task, name: str | None, model: LanguageModel, seed: int) -> Task:
    """A task by its name; or the given one for another model."""
    if name is not None:
        return load_task(name, model, seed=seed)
    arguments = dict(task.arguments)
    data = arguments.pop("data", None)
    arguments.pop("sha256", None)
    return load_task(Path(data) if data else task.name, model, seed=task.seed, **arguments)


def _make_table(probed: Sequence[Probed]) -> TableRecord:
    rows: list[list[Cell]] = []
    for model, task, own in probed:
        best = own.fits[own.best]
        rows.append(
            [
                model,
                task,
                own.names[own.best],
                estimate_cell(best.right.astype(np.float64), share=True),
                float(np.mean(own.shuffled[own.best])),
                own.majority,
                own.depths.jump,
                own.depths.settled,
            ]
        )
    return TableRecord(
        title="Where a probe is best, its accuracy beside shuffled labels and the most common "
        "class, and depths as shares of all layers: of the jump, and from where on nothing changes",
        columns=["model", "task", "best", "accuracy", "shuffled", "majority", "jump", "settled"],
        rows=rows,
    )


def _draw_curves(probed: Sequence[Probed]) -> list[CurvesRecord]:
    """Accuracy by layer; one picture for all models of as many layers."""
    sizes = dict.fromkeys(len(own.names) for _, _, own in probed)
    return [
        CurvesRecord(
            title="Accuracy of probes on examples left out (-1: the embedding)",
            x_axis="layer",
            y_axis="accuracy",
            x=[-1 if name == "embedding" else int(name.split()[1]) for name in alike[0][2].names],
            series=[
                SeriesRecord(name=f"{task} in {model}", y=[fit.accuracy for fit in own.fits])
                for model, task, own in alike
            ],
        )
        for alike in ([each for each in probed if len(each[2].names) == size] for size in sizes)
    ]
