"""Where heads fetch what matters: the effect of each head, split exactly by source position."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int

from circuitgraph.analysis.base import analysis
from circuitgraph.analysis.heads import rank_heads
from circuitgraph.analysis.measuring import collect_runs, estimate_cell
from circuitgraph.analysis.places import check_corrupted, list_roles
from circuitgraph.catalog.analysis_record import HeatmapRecord, Reading, TableRecord
from circuitgraph.engine.batch import check_prompts, make_batch
from circuitgraph.engine.readings.sources import run_source_effects
from circuitgraph.errors import ArgumentError, DataError, check_at_least
from circuitgraph.models.language_model import LanguageModel
from circuitgraph.tasks.base import Task
from circuitgraph.tasks.metrics import metrics
from circuitgraph.tasks.prompts import Prompts

_AT_ONCE = 16  # prompts whose patterns of all layers are alive at a time
OTHERS = "other tokens"


@analysis(
    "attention-sources",
    source="Haklay et al. 2025, section 3 (there by replacing one key at a time)",
    cannot_tell="what an exact ablation would do: effects are to first order; nor why the head "
    "looks there, for patterns change with what queries and keys read.",
)
def read_attention_sources(
    model: LanguageModel,
    prompts: Prompts,
    task: Task,
    *,
    metric: str | None = None,
    top: int = 10,
) -> Reading:
    """What the loss rises by, to first order, when what a head fetches at one place becomes what it
    fetches there in the corrupted run; places are the task's roles, or positions.

    A head's output is, exactly, a sum over the positions that it attends to, so that the effects of
    all places sum to the head's own.

    Args:
        metric: what the loss is made of; the task's own if None.
        top: how many heads to show, those with the largest effect at any place.

    Raises:
        ArgumentError: a metric without gradient at the clean run.
        DataError: prompts without a corrupted side, or, without roles, of different lengths.
    """
    check_at_least("top", top, 1)
    chosen = metrics[metric or task.metric]
    check_corrupted(prompts, "attention-sources")
    check_prompts(model, prompts, chosen)
    if not chosen.differentiable or chosen.flat_at_full:
        raise ArgumentError(
            f"attention-sources follows the gradient of its metric, and that of {chosen.name!r} is "
            "zero at the clean run: use another one, such as logit_difference."
        )
    names, places = number_places(prompts)

    def run(rows: slice) -> Float[np.ndarray, "layers heads batch places"]:
        effects = run_source_effects(model.transformer, make_batch(prompts, rows), chosen)
        return _sum_places(np.asarray(effects, np.float64), places[rows], len(names))

    effects = collect_runs(prompts, _AT_ONCE, run, axis=2)
    title = f"What the loss ({chosen.name}) rises by, by where a head fetches"
    return _report_effects(title, effects, names, top)


def _report_effects(
    title: str, effects: Float[np.ndarray, "layers heads batch places"], names: list[str], top: int
) -> Reading:
    """The heads with the largest mean effect at any place."""
    means = effects.mean(axis=2)
    heads, labels = zip(*rank_heads(np.abs(means).max(axis=2), top), strict=True)
    rows = [
        [label, *map(estimate_cell, effects[head].T), estimate_cell(effects[head].sum(1))]
        for label, head in zip(labels, heads, strict=True)
    ]
    return Reading(
        tables=[TableRecord(title=title, columns=["head", *names, "all"], rows=rows)],
        pictures=[
            HeatmapRecord(
                title=title,
                unit="rise of the loss",
                row_axis="head",
                column_axis="fetched at",
                row_labels=labels,
                column_labels=names,
                values=[means[head].tolist() for head in heads],
            )
        ],
    )


def number_places(prompts: Prompts) -> tuple[list[str], Int[np.ndarray, "batch pos"]]:
    """The names of places, and which of them each position of each prompt belongs to: the roles
    that all prompts have and all other tokens, or else each position by itself.

    Raises:
        DataError: prompts without roles have different lengths.
    """
    roles = list_roles(prompts)
    if roles:
        places = np.full(prompts.mask.shape, len(roles), np.int32)
        for row, pair in zip(places, prompts.pairs, strict=True):
            for number, role in enumerate(roles):
                row[pair.roles[role]] = number
        return [*roles, OTHERS], places
    lengths = prompts.mask.sum(axis=1)
    if lengths.min() < lengths.max():
        raise DataError(
            f"The prompts have no roles, and {lengths.min()} to {lengths.max()} tokens: places "
            "cannot be compared. Use prompts of one length, or a task with roles."
        )
    numbers = np.arange(prompts.mask.shape[1], dtype=np.int32)
    return [str(n) for n in numbers], np.broadcast_to(numbers, prompts.mask.shape)


def _sum_places(
    effects: Float[np.ndarray, "layers heads batch keys"],
    places: Int[np.ndarray, "batch keys"],
    n_places: int,
) -> Float[np.ndarray, "layers heads batch places"]:
    belongs = (places[..., None] == np.arange(n_places)).astype(effects.dtype)
    return np.einsum("lhbk,bkp->lhbp", effects, belongs)
