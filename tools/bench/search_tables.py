"""The search benchmark's numbers as tables, for a terminal and in Markdown."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from rich.table import Table

Row = dict[str, Any]


@dataclass
class Results:
    """One row for each section, case and metric; its measurements by name, as far as they were
    made.
    """

    rows: list[Row] = field(default_factory=list)

    def add(self, section: str, case: str, metric: str, measurement: str, found: Row) -> None:
        where = {"section": section, "case": case, "metric": metric}
        for row in self.rows:
            if where.items() <= row.items():
                row[measurement] = found
                return
        self.rows.append({**where, measurement: found})

    def of(self, section: str, measurement: str) -> list[Row]:
        return [row for row in self.rows if row["section"] == section and measurement in row]


@dataclass(frozen=True)
class Sheet:
    """A table: the first columns are words, the others numbers."""

    title: str
    headings: Sequence[str]
    rows: Sequence[Sequence[str]]


def rich_table(sheet: Sheet) -> Table:
    table = Table(title=sheet.title, title_justify="left")
    for i, heading in enumerate(sheet.headings):
        table.add_column(heading, justify="left" if i < 2 else "right")
    for row in sheet.rows:
        table.add_row(*row)
    return table


def markdown(sheet: Sheet) -> str:
    lines = [
        sheet.headings,
        ["---" if i < 2 else "--:" for i in range(len(sheet.headings))],
        *sheet.rows,
    ]
    return f"{sheet.title}\n\n" + "\n".join("| " + " | ".join(line) + " |" for line in lines)


def sheets(results: Results) -> list[Sheet]:
    """The tables that have rows."""
    made = [
        _per_edge(results),
        _searches(results),
        _attribution(results),
        _evaluation(results),
        _compiling(results),
    ]
    return [sheet for sheet in made if sheet.rows]


def _ms(seconds: float) -> str:
    return f"{1e3 * seconds:,.2f}" if seconds < 0.1 else f"{1e3 * seconds:,.0f}"


def _gib(n_bytes: float) -> str:
    return f"{n_bytes / 2**30:.1f}"


def _times(slow: float, fast: float) -> str:
    return f"{slow / fast:.1f}" if slow < 100 * fast else f"{slow / fast:.0f}"


def _of(row: Row, measurement: str, number: str, show: Callable[[float], str]) -> str:
    """A number of a measurement, if it was made."""
    return show(row[measurement][number]) if measurement in row else "-"


def _per_edge(results: Results) -> Sheet:
    headings = (
        "model",
        "metric",
        "edges",
        "decided",
        "tested",
        "kept",
        "torch, ms/edge",
        "masked, ms/edge",
    )
    headings += ("frontier, ms/edge", "torch : frontier", "masked : frontier")
    rows = []
    for row in results.of("A", "frontier"):
        ours = row["frontier"]
        ratio = partial(_times, fast=ours["per_edge"])
        decided = "all" if ours["complete"] else f"{ours['decided'] / ours['edges']:.0%}"
        numbers = [f"{ours['edges']:,}", decided, f"{ours['tested']:,}", f"{ours['kept']:,}"]
        numbers += [
            _of(row, name, "per_edge", _ms) for name in ("torch_hooks", "masked", "frontier")
        ]
        numbers += [_of(row, name, "per_edge", ratio) for name in ("torch_hooks", "masked")]
        rows.append([ours["model"], f"{row['metric']} {ours['threshold']:g}", *numbers])
    return Sheet("A. ACDC: time for each tested edge", headings, rows)


def _searches(results: Results) -> Sheet:
    headings = (
        "model",
        "metric",
        "run, s",
        "compile, s",
        "edges/s: start",
        "middle",
        "end",
        "launches",
        "settlings",
    )
    headings += (
        "masked runs",
        "rows right",
        "of product",
        "peak, GiB: frontier",
        "masked",
        "torch",
    )
    rows = []
    for row in results.of("A", "frontier"):
        ours, counts = row["frontier"], row["frontier"]["counts"]
        numbers = [
            f"{ours['seconds']:.1f}",
            f"{ours['compiling']:.1f}",
            *(f"{rate:,.0f}" for rate in ours["rates"]),
        ]
        numbers += [f"{counts[name]:,}" for name in ("launches", "settlings", "whole")]
        numbers += [
            f"{ours['accepted']:.0%}",
            f"{ours['share_of_product']:.0%}",
            _gib(ours["peak"]),
        ]
        numbers += [_of(row, name, "peak", _gib) for name in ("masked", "torch_hooks")]
        rows.append([ours["model"], row["metric"], *numbers])
    return Sheet("A. ACDC: the frontier's searches", headings, rows)


def _attribution(results: Results) -> Sheet:
    headings = (
        "model",
        "scores",
        "torch, s",
        "ours, s",
        "ours with compiling, s",
        "torch : ours",
        "scores apart",
    )
    headings += ("peak, GiB: ours", "torch")
    rows = []
    for row in results.of("B", "attribution_torch"):
        for name in ("eap", "eap-ig-inputs"):
            ours, theirs = row["attribution"][name], row["attribution_torch"][name]
            numbers = [f"{theirs['seconds']:.2f}", f"{ours['seconds']:.2f}", f"{ours['first']:.2f}"]
            numbers += [_times(theirs["seconds"], ours["seconds"]), f"{theirs['apart']:.0e}"]
            peaks = [_gib(row[part]["peak"]) for part in ("attribution", "attribution_torch")]
            rows.append([row["attribution"]["model"], name, *numbers, *peaks])
    return Sheet("B. Attribution of all edges, logit difference", headings, rows)


def _evaluation(results: Results) -> Sheet:
    headings = (
        "model",
        "circuit",
        "edges kept",
        "torch, ms",
        "masked, ms",
        "frontier, ms",
        "torch : frontier",
    )
    rows = []
    for row in results.of("C", "evaluation_torch"):
        ours, theirs = row["evaluation"], row["evaluation_torch"]["seconds"]
        numbers = [
            _ms(theirs),
            _ms(ours["masked"]),
            _ms(ours["seconds"]),
            _times(theirs, ours["seconds"]),
        ]
        rows.append(
            [
                ours["model"],
                "found in A" if ours["found"] else "random paths",
                f"{ours['kept']:,}",
                *numbers,
            ]
        )
    return Sheet("C. One evaluation of a circuit", headings, rows)


def _compiling(results: Results) -> Sheet:
    headings = ("model", "search", "programs", "compile, s: cold", "warm", "cold : warm")
    rows = []
    for row in results.of("D", "jit_warm"):
        cold, warm = row["jit_cold"], row["jit_warm"]
        times = (cold["compiling"], warm["compiling"])
        numbers = [str(cold["programs"]), *(f"{t:.1f}" for t in times), _times(*times)]
        rows.append([cold["model"], "short", *numbers])
    return Sheet("D. Compiling for a search", headings, rows)
