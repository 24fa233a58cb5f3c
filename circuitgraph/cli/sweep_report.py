"""A sweep as tables: what is to be done, and what each circuit is worth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from rich.table import Table

from circuitgraph.cli.tables import format_mean, make_table

if TYPE_CHECKING:
    from circuitgraph.catalog.sweep_record import SweepCell


def make_sweep_table(cells: Sequence[SweepCell]) -> Table:
    """A line for each circuit; one that failed has its reason below."""
    table = make_table(
        f"{len(cells)} cells, on unseen prompts",
        "circuit",
        "edges",
        "faithfulness",
        "random circuits",
        "seconds",
    )
    for cell in cells:
        score = cell.score
        if score is None:
            table.add_row(cell.entry, "-", "failed", "", "")
            continue
        table.add_row(
            cell.entry,
            f"{score.n_edges:,} of {score.graph_edges:,}",
            format_mean(score.faithfulness),
            format_mean(score.random_faithfulness),
            f"{score.seconds:.1f}",
        )
    return table


def list_failures(cells: Sequence[SweepCell]) -> list[str]:
    """A line for each cell without a circuit."""
    reasons = {cell.entry: cell.failed for cell in cells if cell.failed is not None}
    return [f"{entry}: {reason}" for entry, reason in reasons.items()]


def make_plan_table(plan: Mapping[str, str]) -> Table:
    """The cells of a sweep before it is run.

    Args:
        plan: by entry, what will become of it.
    """
    table = make_table(f"{len(plan)} cells", "circuit", "state", n_left=2)
    for entry, state in plan.items():
        table.add_row(entry, state)
    return table
