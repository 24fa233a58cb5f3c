"""Path patching: what one set of nodes sends to another, and key heads by what their paths do."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from circuitgraph.analysis.base import analysis
from circuitgraph.analysis.heads import draw_heads
from circuitgraph.analysis.measuring import NO_DIFFERENCE, estimate_cell, estimate_share
from circuitgraph.analysis.named_nodes import find_readers, find_writers
from circuitgraph.analysis.path_patches import PathPatches, Through, Values, patch_paths
from circuitgraph.catalog.analysis_record import Cell, HeatmapRecord, Reading, TableRecord
from circuitgraph.errors import ArgumentError, check_at_least
from circuitgraph.evaluation.intervals import estimate_from_means
from circuitgraph.graph.graph import Graph
from circuitgraph.models.language_model import LanguageModel
from circuitgraph.tasks.prompts import Prompts


@analysis(
    "path-patching",
    source="Goldowsky-Dill et al. 2023, Wang et al. 2022",
    cannot_tell="what a node does besides: a sender without an effect on these receivers may act "
    "through others, and where backups stand in, an effect is smaller than what the sender says.",
)
def read_path_patching(
    model: LanguageModel,
    prompts: Prompts,
    bar: bool = False,
    *,
    senders: tuple[str, ...] = ("heads",),
    receivers: tuple[str, ...] = ("logits",),
    through: Through = "mlps",
    together: bool = False,
    metric: str | None = None,
    top: int = 20,
) -> Reading:
    """What each node tells others: the metric when only the receivers see it as in the corrupted
    run. Heads into the logits, by the relative change of the logit, are key heads.

    Args:
        senders: nodes, or ``heads`` and ``mlps`` for all of a kind; each is patched by itself.
        receivers: ``logits``, MLPs, heads, or single inputs such as ``a2.h1<q>``.
        through: paths from a sender to a receiver: its edge alone (``direct``), or also those
            through MLPs on the way (``mlps``). No head on the way changes.
        together: patch all senders at once as well.
        metric: by default ``logit_difference``, or ``logit`` where there are no distractors.
        top: rows of the table; the picture has all senders.

    Raises:
        UnknownNameError: a node, an input or a metric that there is not.
        ArgumentError: no sender comes before a receiver.
        DataError: prompts without corrupted counterparts, or that the metric cannot score.
    """
    check_at_least("top", top, 1)
    graph = model.graph()
    into, sending = find_readers(graph, receivers), find_writers(graph, senders)
    before: np.ndarray = np.any(graph.legal[into], axis=0)
    alone = [writer for writer in sending if before[writer]]
    if not alone:
        raise ArgumentError(
            f"None of the senders {', '.join(senders)} comes before one of the receivers "
            f"{', '.join(receivers)}: name earlier senders, or later receivers."
        )
    patches = [[writer] for writer in alone] + ([alone] if together else [])
    measured = patch_paths(model, prompts, patches, into, metric=metric, through=through, bar=bar)
    names = [graph.writers[writer].name for writer in alone] + ["all together"] * together
    paths = f"{'through MLPs' if through == 'mlps' else 'directly'} into {', '.join(receivers)}"
    return Reading(
        tables=[_make_table(measured, names, paths, top)],
        pictures=_draw_heads(graph, alone, measured, paths),
        notes=[
            f"Unpatched: {measured.clean.mean():.3f}; on the corrupted prompts: "
            f"{measured.corrupted.mean():.3f}. All else that receivers read stays as it is "
            "unpatched, what other receivers write too; what comes after them responds."
        ],
    )


def _make_table(measured: PathPatches, names: Sequence[str], paths: str, top: int) -> TableRecord:
    sizes = np.abs(np.nan_to_num(measured.relative_changes))
    ranked = sorted(range(len(names)), key=lambda patch: -sizes[patch])
    rows: list[list[Cell]] = []
    for patch in ranked[:top]:
        values, clean = measured.patched[patch], measured.clean
        rows.append(
            [
                names[patch],
                estimate_cell(values),
                estimate_cell(values - clean),
                _estimate_relative(clean, values),
                estimate_share(clean, measured.corrupted, values),
            ]
        )
    return TableRecord(
        title=f"{measured.metric.name} when one sender is corrupted {paths}; its change, that as a "
        "share of the unpatched mean, and of the way to the corrupted prompts'",
        columns=["sender", "patched", "change", "relative change", "share of the gap"],
        rows=rows,
    )


def _estimate_relative(clean: Values, patched: Values) -> Cell:
    """The change of the mean as a share of its size; None where that is zero."""
    samples = np.stack([clean, patched])
    if abs(clean.mean()) < NO_DIFFERENCE:
        return None
    if len(clean) < 2:
        return float((patched[0] - clean[0]) / abs(clean[0]))
    return estimate_from_means(lambda m: (m[1] - m[0]) / abs(m[0]), samples, 0)


def _draw_heads(
    graph: Graph, senders: Sequence[int], measured: PathPatches, paths: str
) -> list[HeatmapRecord]:
    """Relative changes by layer and head; nothing where no head sends."""
    values = np.full((graph.n_layers, graph.n_heads), np.nan)
    heads = [graph.writers[i].node for i in senders]
    for node, change in zip(heads, measured.relative_changes, strict=False):
        if node.kind == "head":
            values[node.layer, node.index] = change
    if all(node.kind != "head" for node in heads):
        return []
    unit = f"relative change of {measured.metric.name}"
    return [draw_heads(f"Each head corrupted {paths}", unit, values)]
