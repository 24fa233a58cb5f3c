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

if TYPE_CHECKING:
    from circuitgraph.catalog.leaderboard_record import Cell, Question, Score
    from circuitgraph.catalog.records import Interval

_COLUMNS: dict[str, tuple[Callable[[Score], float | None], str]] = {
    "AUROC": (lambda s: s.auroc, ".3f"),
    "AUROC q/k/v": (lambda s: s.edge_auroc, ".3f"),
    "CMD": (lambda s: _mean(s.cmd), ".3f"),
    "random CMD": (lambda s: _mean(s.random_cmd), ".3f"),
    "CPR": (lambda s: _mean(s.cpr), ".3f"),
    "size at 95 %": (lambda s: s.size_95, ".0f"),
    "circuit": (lambda s: s.n_edges, ".0f"),
    "faithfulness": (lambda s: _mean(s.faithfulness), ".3f"),
    "stability": (lambda s: _mean(s.stability), ".2f"),
    "seconds": (lambda s: s.seconds, ".1f"),
}
_INTERVALS: dict[str, Callable[[Score], Interval | None]] = {
    "CMD": lambda s: s.cmd,
    "CPR": lambda s: s.cpr,
    "faithfulness": lambda s: s.faithfulness,
}
_SHARES = (
    "size at 95 %",
    "circuit",
)  # in a summary as parts of each graph: numbers of edges cannot be compared


def tables(cells: Sequence[Cell], *, intervals: bool = False) -> list[Table]:
    """The summary, if there are several cases, and a table for each case; with ``intervals``, for
    wide pages.
    """
    by_case = [
        (question, list(group)) for question, group in groupby(cells, lambda c: _case(c.question))
    ]
    each = [_of_case(name, group, intervals) for name, group in by_case]
    return [_summary(cells, len(by_case)), *each] if len(by_case) > 1 else each


def as_markdown(cells: Sequence[Cell]) -> str:
    """The tables as Markdown, with what their columns mean."""
    written = io.StringIO()
    console = Console(file=written, width=10_000, markup=False, emoji=False)
    for table in tables(cells, intervals=True):
        title, table.title, table.box = str(table.title), None, MARKDOWN
        console.print(f"\n## {title}\n")
        console.print(table)
    lines = [line.strip() for line in written.getvalue().splitlines()]
    return "\n".join([*_intro(cells), *lines]).rstrip("\n") + "\n"


def _intro(cells: Sequence[Cell]) -> list[str]:
    asked = cells[0].question
    return [
        "# Leaderboard",
        "",
        "Written by `circuitgraph leaderboard --markdown FILE`: every algorithm with its default "
        f"settings, {asked.n_discovery} discovery prompts, judged on {asked.n_evaluation} others, "
        f"{asked.ablation} ablation, seed {asked.seed}.",
        "",
        "* AUROC: of the scores against the true circuit where it is known, by pairs of nodes; "
        "q/k/v: by every edge.",
        "* CMD (0 is best), CPR: as MIB computes them, with 95 % intervals over prompts; random "
        "CMD: of random scores.",
        "* Size at 95 %: edges of the smallest circuit tried that is 95 % faithful.",
        "* Circuit: edges that the algorithm itself selects by default, and their faithfulness.",
        f"* Stability: mean Jaccard overlap of the circuits of {asked.n_bootstraps} searches on "
        "resampled prompts.",
        "* Seconds: of one search, with what it had to compile.",
    ]


def _of_case(title: str, cells: Iterable[Cell], intervals: bool) -> Table:
    table = _new(title)
    for cell in cells:
        if cell.score is None:
            table.add_row(cell.question.algorithm, f"not measured: {cell.refused}")
            continue
        table.add_row(
            cell.question.algorithm, *(_shown(name, cell.score, intervals) for name in _COLUMNS)
        )
    return table


def _summary(cells: Sequence[Cell], n_cases: int) -> Table:
    table = _new(f"Medians over {n_cases} cases (sizes in percent of the graph's edges)", "cases")
    names = dict.fromkeys(cell.question.algorithm for cell in cells)
    for algorithm in names:
        scores = [
            c.score for c in cells if c.question.algorithm == algorithm and c.score is not None
        ]
        table.add_row(algorithm, *(_median(name, scores) for name in _COLUMNS), str(len(scores)))
    return table


def _new(title: str, *more: str) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False)
    table.add_column("algorithm", no_wrap=True)
    for name in (*_COLUMNS, *more):
        table.add_column(name, justify="right")
    return table


def _shown(name: str, score: Score, intervals: bool) -> str:
    value, form = _COLUMNS[name][0](score), _COLUMNS[name][1]
    if value is None:
        return "-"
    interval = _INTERVALS[name](score) if intervals and name in _INTERVALS else None
    span = f" [{interval.low:{form}}, {interval.high:{form}}]" if interval is not None else ""
    return f"{value:{form}}{span}"


def _median(name: str, scores: Sequence[Score]) -> str:
    value, form = _COLUMNS[name]
    known = [(found, score) for score in scores if (found := value(score)) is not None]
    if not known:
        return "-"
    if name in _SHARES:
        return (
            f"{statistics.median(100 * found / score.graph_edges for found, score in known):.1f} %"
        )
    return f"{statistics.median(found for found, _ in known):{form}}"


def _mean(interval: Interval | None) -> float | None:
    return None if interval is None else interval.mean


def _case(question: Question) -> str:
    return (
        question.task if question.model == question.task else f"{question.task} in {question.model}"
    )
