"""Head intervention sweep: every head knocked out by itself, and what the answer loses."""

from __future__ import annotations

from typing import Literal

import numpy as np
from jaxtyping import Float

from circuitgraph.analysis.base import analysis
from circuitgraph.analysis.heads import draw_heads, rank_heads
from circuitgraph.analysis.measuring import choose_metrics, estimate_cell, estimate_metrics
from circuitgraph.catalog.analysis_record import Cell, Reading, TableRecord
from circuitgraph.engine.readings.head_sweep import HeadSweep, sweep_everywhere, sweep_scored
from circuitgraph.errors import ArgumentError, DataError, check_between, check_choice
from circuitgraph.models.language_model import LanguageModel
from circuitgraph.tasks.metrics import Metric
from circuitgraph.tasks.prompts import Prompts

Where = Literal["everywhere", "scored"]


@analysis(
    "head-sweep",
    source="Yu and Ananiadou 2024b, Comparative Neuron Analysis",
    cannot_tell="what a head does, or whether others would do it in its place: heads that back up "
    "each other lose little one by one. A head set to zero is also unlike any head of a real run.",
)
def read_head_sweep(
    model: LanguageModel,
    prompts: Prompts,
    *,
    at: Where = "everywhere",
    by: str = "probability",
    top: int = 10,
) -> Reading:
    """What the answer loses when one head fetches nothing, for every head, in one batched run.

    Args:
        at: where the head is silent: at all positions, as if its columns of the output weights were
            zero, or at the scored one alone, which is much faster.
        by: the metric by which heads are ranked.
        top: how many heads to list.

    Raises:
        DataError: prompts that the model cannot read, or the metric cannot score.
        ArgumentError: one position alone where later ones are seen, or several are scored.
    """
    check_between("top", top, 1, model.spec.n_layers * model.spec.n_heads)
    chosen = choose_metrics(model, prompts)
    names = [metric.name for metric in chosen]
    check_choice("by", by, names)
    sweep = sweep_heads(model, prompts, chosen, at)
    first = names.index(by)
    # losses: how much worse the answer is, of metrics that are better when higher or lower
    signs = np.array([1.0 if metric.higher_is_better else -1.0 for metric in chosen])
    losses = (sweep.whole - sweep.without) * signs[:, None]
    return Reading(
        tables=[_make_table(chosen, sweep, losses, first, top)],
        pictures=[
            draw_heads(
                f"What the answer's {by} loses without one head",
                f"loss of {by}",
                losses[:, :, first].mean(-1),
            )
        ],
        notes=[_describe_few(losses[:, :, first].mean(-1))],
    )


def sweep_heads(
    model: LanguageModel, prompts: Prompts, chosen: tuple[Metric, ...], at: Where
) -> HeadSweep:
    """Metrics without each head; refuses what `read_head_sweep` says."""
    if at == "everywhere":
        return sweep_everywhere(model.transformer, prompts, chosen)
    if not model.spec.causal:
        raise ArgumentError(
            "at is 'scored', but in this model other positions see the scored one, and change with "
            "it: use 'everywhere'."
        )
    if prompts.n_scored != 1:
        raise DataError(
            f"at is 'scored', but the prompts have {prompts.n_scored} scored positions: use "
            "'everywhere'."
        )
    return sweep_scored(model.transformer, prompts, chosen)


def _make_table(
    chosen: tuple[Metric, ...],
    sweep: HeadSweep,
    losses: Float[np.ndarray, "layers heads metrics batch"],
    first: int,
    top: int,
) -> TableRecord:
    """The heads without which the answer is worst, beside the whole model."""
    rows: list[list[Cell]] = [["none", None, *estimate_metrics(chosen, sweep.whole)]]
    for place, head in rank_heads(losses[:, :, first].mean(-1), top):
        lost = estimate_cell(losses[place][first])
        rows.append([head, lost, *estimate_metrics(chosen, sweep.without[place])])
    name = chosen[first].name
    return TableRecord(
        title=f"Without one head: loss of {name} (positive is worse), and all metrics; means over "
        "prompts, 95 % intervals",
        columns=["without", f"loss of {name}", *(metric.name for metric in chosen)],
        rows=rows,
    )


def _describe_few(means: Float[np.ndarray, "layers heads"]) -> str:
    """Whether few heads matter: how many have at least a tenth of the largest loss."""
    largest = float(means.max())
    if largest <= 0:
        return "No head's absence makes the answer worse on average."
    n = int((means >= 0.1 * largest).sum())
    return f"{n} of {means.size} heads have at least a tenth of the largest loss."
