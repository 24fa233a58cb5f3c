"""The leaderboard as tables: one line for each algorithm over all cases, then each case."""

from __future__ import annotations

import io
import statistics
from collections.abc import Callable, Iterable, Sequence
from itertools import groupby
from typing import TYPE_CHECKING

from rich.box import MARKDOWN
from rich.console import Console
from rich.table import Table

from circuitgraph.cli.tables import make_table
from circuitgraph.printable import make_printable, to_markdown_cell

if TYPE_CHECKING:
    from circuitgraph.catalog.leaderboard_record import Cell, Question, Score
    from circuitgraph.catalog.records import Interval

_COLUMNS: dict[str, tuple[Callable[[Score], float | None], str]] = {
    "AUROC": (lambda s: s.auroc, ".3f"),
    "AUROC q/k/v": (lambda s: s.edge_auroc, ".3f"),
    "CMD": (lambda s: _take_mean(s.cmd), ".3f"),
    "random CMD": (lambda s: _take_mean(s.random_cmd), ".3f"),
    "CPR": (lambda s: _take_mean(s.cpr), ".3f"),
    "size at 95 %": (lambda s: s.size_95, ".0f"),
    "circuit": (lambda s: s.n_edges, ".0f"),
    "faithfulness": (lambda s: _take_mean(s.faithfulness), ".3f"),
    "stability": (lambda s: _take_mean(s.stability), ".2f"),
    "seconds": (lambda s: s.seconds, ".1f"),
}
_INTERVALS: dict[str, Callable[[Score], Interval | None]] = {
    "CMD": lambda s: s.cmd,
    "CPR": lambda s: s.cpr,
    "faithfulness": lambda s: s.faithfulness,
}
_TITLE = "# Leaderboard"
_WRITTEN_BY = "Written by `circuitgraph leaderboard --markdown FILE`"
# In a summary these are parts of each graph, because numbers of edges cannot be compared.
_SHARES = ("size at 95 %", "circuit")


def make_tables(
    cells: Sequence[Cell],
    *,
    intervals: bool = False,
    show: Callable[[str], str] = make_printable,
) -> list[Table]:
    """The summary, if there are several cases, and a table for each case.

    Args:
        intervals: print confidence intervals too, for wide pages.
        show: makes a name, or a refusal, fit for a cell.
    """
    by_case = groupby(cells, lambda cell: _name_case(cell.question))
    tables = [_make_case_table(name, group, intervals, show) for name, group in by_case]
    return [_make_summary_table(cells, len(tables), show), *tables] if len(tables) > 1 else tables


def format_markdown(cells: Sequence[Cell]) -> str:
    """The tables as Markdown, with what their columns mean."""
    text = io.StringIO()
    console = Console(file=text, width=10_000, markup=False, emoji=False)
    for table in make_tables(cells, intervals=True, show=to_markdown_cell):
        title, table.title, table.box = str(table.title), None, MARKDOWN
        console.print(f"\n## {to_markdown_cell(title)}\n")
        console.print(table)
    lines = [line.strip() for line in text.getvalue().splitlines()]
    return "\n".join([*_write_introduction(cells), *lines]).rstrip("\n") + "\n"


def is_markdown(content: bytes) -> bool:
    """Whether a file is a page that `format_markdown` made."""
    return content.startswith(f"{_TITLE}\n\n{_WRITTEN_BY}".encode())


def _write_introduction(cells: Sequence[Cell]) -> list[str]:
    question = cells[0].question
    return [
        _TITLE,
        "",
        f"{_WRITTEN_BY}: every algorithm with its default "
        f"settings, {question.n_discovery} discovery prompts, judged on "
        f"{question.n_evaluation} others, {question.ablation} ablation, seed {question.seed}.",
        "",
        "* AUROC: of the scores against the true circuit where it is known, by pairs of nodes; "
        "q/k/v: by every edge.",
        "* CMD (0 is best), CPR: as MIB computes them, with 95 % intervals over prompts; random "
        "CMD: of random scores.",
        "* Size at 95 %: edges of the smallest circuit tried that is 95 % faithful.",
        "* Circuit: edges that the algorithm itself selects by default, and their faithfulness.",
        f"* Stability: mean Jaccard overlap of the circuits of {question.n_bootstraps} searches on "
        "resampled prompts.",
        "* Seconds: of one search, with what it had to compile.",
    ]


def _make_case_table(
    title: str, cells: Iterable[Cell], intervals: bool, show: Callable[[str], str]
) -> Table:
    table = _start_table(make_printable(title))
    for cell in cells:
        if cell.score is None:
            refusal = show(f"not measured: {cell.refused}")
            table.add_row(show(cell.question.algorithm), refusal)
            continue
        table.add_row(
            show(cell.question.algorithm),
            *(_format_score(name, cell.score, intervals) for name in _COLUMNS),
        )
    return table


def _make_summary_table(cells: Sequence[Cell], n_cases: int, show: Callable[[str], str]) -> Table:
    table = _start_table(
        f"Medians over {n_cases} cases (sizes in percent of the graph's edges)", "cases"
    )
    names = dict.fromkeys(cell.question.algorithm for cell in cells)
    for algorithm in names:
        scores = [
            c.score for c in cells if c.question.algorithm == algorithm and c.score is not None
        ]
        table.add_row(
            show(algorithm), *(_format_median(name, scores) for name in _COLUMNS), str(len(scores))
        )
    return table


def _start_table(title: str, *more: str) -> Table:
    table = make_table(title)
    table.add_column("algorithm", no_wrap=True)
    for name in (*_COLUMNS, *more):
        table.add_column(name, justify="right")
    return table


def _format_score(name: str, score: Score, intervals: bool) -> str:
    take_value, form = _COLUMNS[name]
    value = take_value(score)
    if value is None:
        return "-"
    interval = _INTERVALS[name](score) if intervals and name in _INTERVALS else None
    span = f" [{interval.low:{form}}, {interval.high:{form}}]" if interval is not None else ""
    return f"{value:{form}}{span}"


def _format_median(name: str, scores: Sequence[Score]) -> str:
    take_value, form = _COLUMNS[name]
    known = [
        (value, score.graph_edges) for score in scores if (value := take_value(score)) is not None
    ]
    if not known:
        return "-"
    if name in _SHARES:
        return f"{statistics.median(100 * value / n_edges for value, n_edges in known):.1f} %"
    return f"{statistics.median(value for value, _ in known):{form}}"


def _take_mean(interval: Interval | None) -> float | None:
    return None if interval is None else interval.mean


def _name_case(question: Question) -> str:
    return (
        question.task if question.model == question.task else f"{question.task} in {question.model}"
    )
