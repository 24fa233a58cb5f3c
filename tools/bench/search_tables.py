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
    """One row for each section, case and metric, with the measurements that were made."""

    rows: list[Row] = field(default_factory=list)

    def add(self, section: str, case: str, metric: str, measurement: str, numbers: Row) -> None:
        identity = {"section": section, "case": case, "metric": metric}
        for row in self.rows:
            if identity.items() <= row.items():
                row[measurement] = numbers
                return
        self.rows.append({**identity, measurement: numbers})

    def of(self, section: str, measurement: str) -> list[Row]:
        return [row for row in self.rows if row["section"] == section and measurement in row]


@dataclass(frozen=True)
class Sheet:
    """A table: the first columns are words, the others numbers."""

    title: str
    headings: Sequence[str]
    rows: Sequence[Sequence[str]]


def make_rich_table(sheet: Sheet) -> Table:
    table = Table(title=sheet.title, title_justify="left")
    for i, heading in enumerate(sheet.headings):
        table.add_column(heading, justify="left" if i < 2 else "right")
    for row in sheet.rows:
        table.add_row(*row)
    return table


def format_markdown(sheet: Sheet) -> str:
    lines = [
        sheet.headings,
        ["---" if i < 2 else "--:" for i in range(len(sheet.headings))],
        *sheet.rows,
    ]
    return f"{sheet.title}\n\n" + "\n".join("| " + " | ".join(line) + " |" for line in lines)


def make_sheets(results: Results) -> list[Sheet]:
    """The tables that have rows."""
    sheets = [
        _make_edge_sheet(results),
        _make_search_sheet(results),
        _make_attribution_sheet(results),
        _make_evaluation_sheet(results),
        _make_compiling_sheet(results),
    ]
    return [sheet for sheet in sheets if sheet.rows]


def _format_ms(seconds: float) -> str:
    return f"{1e3 * seconds:,.2f}" if seconds < 0.1 else f"{1e3 * seconds:,.0f}"


def _format_gib(n_bytes: float) -> str:
    return f"{n_bytes / 2**30:.1f}"


def _format_ratio(slow: float, fast: float) -> str:
    return f"{slow / fast:.1f}" if slow < 100 * fast else f"{slow / fast:.0f}"


def _format_cell(row: Row, measurement: str, number: str, show: Callable[[float], str]) -> str:
    """A number of a measurement, if it was made."""
    return show(row[measurement][number]) if measurement in row else "-"


def _make_edge_sheet(results: Results) -> Sheet:
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
        ratio = partial(_format_ratio, fast=ours["per_edge"])
        decided = "all" if ours["complete"] else f"{ours['decided'] / ours['edges']:.0%}"
        numbers = [f"{ours['edges']:,}", decided, f"{ours['tested']:,}", f"{ours['kept']:,}"]
        numbers += [
            _format_cell(row, name, "per_edge", _format_ms)
            for name in ("torch_hooks", "masked", "frontier")
        ]
        numbers += [
            _format_cell(row, name, "per_edge", ratio) for name in ("torch_hooks", "masked")
        ]
        rows.append([ours["model"], f"{row['metric']} {ours['threshold']:g}", *numbers])
    return Sheet("A. ACDC: time for each tested edge", headings, rows)


def _make_search_sheet(results: Results) -> Sheet:
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
            _format_gib(ours["peak"]),
        ]
        numbers += [
            _format_cell(row, name, "peak", _format_gib) for name in ("masked", "torch_hooks")
        ]
        rows.append([ours["model"], row["metric"], *numbers])
    return Sheet("A. ACDC: the frontier's searches", headings, rows)


def _make_attribution_sheet(results: Results) -> Sheet:
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
            numbers += [_format_ratio(theirs["seconds"], ours["seconds"]), f"{theirs['apart']:.0e}"]
            peaks = [
                _format_gib(row[part]["peak"]) for part in ("attribution", "attribution_torch")
            ]
            rows.append([row["attribution"]["model"], name, *numbers, *peaks])
    return Sheet("B. Attribution of all edges, logit difference", headings, rows)


def _make_evaluation_sheet(results: Results) -> Sheet:
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
            _format_ms(theirs),
            _format_ms(ours["masked"]),
            _format_ms(ours["seconds"]),
            _format_ratio(theirs, ours["seconds"]),
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


def _make_compiling_sheet(results: Results) -> Sheet:
    headings = ("model", "search", "programs", "compile, s: cold", "warm", "cold : warm")
    rows = []
    for row in results.of("D", "jit_warm"):
        cold, warm = row["jit_cold"], row["jit_warm"]
        times = (cold["compiling"], warm["compiling"])
        numbers = [str(cold["programs"]), *(f"{t:.1f}" for t in times), _format_ratio(*times)]
        rows.append([cold["model"], "short", *numbers])
    return Sheet("D. Compiling for a search", headings, rows)
