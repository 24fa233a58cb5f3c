"""Tables that several commands show, and how a mean with its interval is printed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.table import Table

from circuitgraph.printable import make_printable

if TYPE_CHECKING:
    from circuitgraph.catalog.records import EvaluationRecord, Interval


class _PrintableTable(Table):
    """A table of names from files, each of which stays in its cell."""

    def add_row(self, *cells: Any, **options: Any) -> None:
        """Add a row; texts are made printable."""
        shown = [make_printable(c, keep="\n") if isinstance(c, str) else c for c in cells]
        super().add_row(*shown, **options)


def make_table(title: str, *headings: str, n_left: int = 1, no_wrap: bool = False) -> Table:
    """A table with a title.

    Args:
        n_left: number of first columns that are aligned to the left; the others to the right.
        no_wrap: only the first column may wrap.
    """
    table = _PrintableTable(
        title=title and make_printable(title, keep="\n"),
        title_justify="left",
        title_style="bold",
        box=None,
        pad_edge=False,
    )
    for i, heading in enumerate(headings):
        justify = "left" if i < n_left else "right"
        table.add_column(heading, justify=justify, no_wrap=no_wrap and i > 0)
    return table


def make_judgement_table(evaluation: EvaluationRecord) -> Table:
    """An evaluation as a table: the metric of model, circuit and nothing, and the faithfulness."""
    prompts = _describe_prompts(evaluation)
    title = f"{evaluation.metric}, {evaluation.ablation} ablation, {prompts}"
    table = make_table(title, "", "mean", "95 % interval")
    random = f"faithfulness of {evaluation.n_random} random circuits of its size"
    rows = {
        "full model": evaluation.full,
        "circuit": evaluation.circuit,
        "empty circuit": evaluation.empty,
        "faithfulness of the circuit": evaluation.faithfulness,
        random: evaluation.random_faithfulness,
    }
    for name, mean in rows.items():
        table.add_row(name, *format_interval(mean))
    return table


def _describe_prompts(evaluation: EvaluationRecord) -> str:
    if evaluation.seen == 0:
        return f"{evaluation.n_prompts} unseen prompts"
    seen = "perhaps some" if evaluation.seen is None else str(evaluation.seen)
    return f"{evaluation.n_prompts} prompts, {seen} of them SEEN in the search"


def format_interval(interval: Interval | None) -> tuple[str, str]:
    """A mean and its 95 % interval, as two cells."""
    if interval is None:
        return "undefined", "full model and empty circuit do not differ"
    # Adding 0.0 makes "0.000" of "-0.000".
    numbers = (interval.mean, interval.low, interval.high)
    mean, low, high = (f"{round(number, 3) + 0.0:.3f}" for number in numbers)
    return mean, f"{low} .. {high}"


def format_mean(interval: Interval | None) -> str:
    """A mean with its 95 % interval, in one cell; a dash where there is none."""
    if interval is None:
        return "-"
    mean, bounds = format_interval(interval)
    return f"{mean} [{bounds.replace(' .. ', ', ')}]"
