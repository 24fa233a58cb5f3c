"""Shared heads: which heads two tasks have in common, beside what chance would give."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from circuitgraph.analysis.base import analysis
from circuitgraph.analysis.heads import HeadPlace, draw_heads, name_head, rank_heads
from circuitgraph.analysis.measuring import estimate_cell
from circuitgraph.analysis.neuron_choice import check_answers
from circuitgraph.analysis.value_neurons import (
    INCREASE_OF_HEADS,
    INCREASE_UNIT,
    measure_sublayers,
)
from circuitgraph.catalog.analysis_record import Cell, Reading, TableRecord
from circuitgraph.errors import ArgumentError, check_between
from circuitgraph.models.language_model import LanguageModel
from circuitgraph.tasks.base import Task
from circuitgraph.tasks.loading import load_task
from circuitgraph.tasks.prompts import Prompts

_TOP = 10


@analysis(
    "shared-heads",
    source="Yu and Ananiadou 2024a, Neuron-Level Knowledge Attribution",
    cannot_tell="that a shared head does the same for both tasks: it may move other things. Heads "
    "that add nothing directly, and only feed others, do not appear.",
)
def read_shared_heads(
    model: LanguageModel, task: Task, prompts: Prompts, *, other: str, top: int | None = None
) -> Reading:
    """Heads that add most to the answer's log-probability in two tasks, and those in both lists.

    Args:
        other: the other task, or a file of pairs; as many of its evaluation prompts are read, or
            fewer if a file has fewer.
        top: how many heads of each task count; by default 10, or a quarter of a smaller model's.

    Raises:
        CircuitGraphError: no such task or file.
        ArgumentError: the other task is the same, or there are not so many heads.
        DataError: prompts that the model cannot read, or whose answers are not one token each.
    """
    n_heads = model.spec.n_layers * model.spec.n_heads
    few = max(1, min(_TOP, n_heads // 4))
    top = few if top is None else check_between("top", top, 1, n_heads)
    check_answers(model, prompts, "shared-heads")
    second = load_task(other, model)
    if second.name == task.name:
        raise ArgumentError(f"other is {other!r}, the task itself: give another one.")
    count = second.count_pairs("evaluation")
    n_prompts = len(prompts) if count is None else min(len(prompts), count)
    others = second.prompts(n_prompts, "evaluation")
    check_answers(model, others, "shared-heads")
    names = (task.name, second.name)
    heads = [measure_sublayers(model, each).heads for each in (prompts, others)]
    tops = [[place for place, _ in rank_heads(each.mean(-1), top)] for each in heads]
    shared = set(tops[0]) & set(tops[1])
    return Reading(
        tables=[_make_table(heads, tops, shared, names)],
        pictures=[
            draw_heads(f"{INCREASE_OF_HEADS} in {name}", INCREASE_UNIT, each.mean(-1))
            for each, name in zip(heads, names, strict=True)
        ],
        notes=[
            f"{len(shared)} of the {top} strongest heads of {names[0]} are among the {top} of "
            f"{names[1]}; random choices among {n_heads} would share {top * top / n_heads:.1f}."
        ],
    )


def _make_table(
    heads: list[Float[np.ndarray, "layers heads batch"]],
    tops: list[list[HeadPlace]],
    shared: set[HeadPlace],
    names: tuple[str, str],
) -> TableRecord:
    """Heads of either list, shared ones first."""
    every = sorted(dict.fromkeys([*tops[0], *tops[1]]), key=lambda place: place not in shared)
    rows: list[list[Cell]] = []
    for place in every:
        cells = (estimate_cell(each[place]) for each in heads)
        ranks = (own.index(place) + 1 if place in own else None for own in tops)
        rows.append([name_head(place), place in shared, *cells, *ranks])
    return TableRecord(
        title="Log-probability increase of what heads add (nats), means over prompts, and their "
        "ranks; '-' is beyond the list",
        columns=["head", "shared", *names, *(f"rank in {name}" for name in names)],
        rows=rows,
    )
