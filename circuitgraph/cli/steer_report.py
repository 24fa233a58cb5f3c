"""How ``circuitgraph steer`` shows what became of prompts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.table import Table

from circuitgraph.cli.tables import format_mean, make_table

if TYPE_CHECKING:
    from circuitgraph.catalog.steering_record import (
        SteeredPromptRecord,
        SteeringRecord,
        TokenRecord,
    )

_N_PROMPTS = 5  # shown; the record has all


def make_report(record: SteeringRecord) -> list[Table | str]:
    """Tables: the units, the metric, and the first prompts with their likeliest tokens."""
    parts = [_describe_runs(record), _make_unit_table(record), "", _make_metric_table(record)]
    for prompt in record.prompts[:_N_PROMPTS]:
        parts += ["", repr(prompt.text), _make_prompt_table(record, prompt)]
    if (more := len(record.prompts) - _N_PROMPTS) > 0:
        parts += ["", f"and {more:,} more: --json has all prompts"]
    return parts


def _name_runs(record: SteeringRecord) -> list[str]:
    n = len(record.after)
    return ["steered"] if n == 1 else [f"run {i + 1}" for i in range(n)]


def _describe_runs(record: SteeringRecord) -> str:
    of = f", features read at {', '.join(record.dictionaries)}" if record.dictionaries else ""
    prompts = "1 prompt" if record.n_prompts == 1 else f"{record.n_prompts:,} prompts"
    prompts += f" of {record.task.name}" if record.task else ""
    return f"{record.model.name}, {prompts}{of}"


def _make_unit_table(record: SteeringRecord) -> Table:
    columns = [heading for run in _name_runs(record) for heading in ("", run)]
    table = make_table("", "unit", "mean value", *columns)
    for one in record.interventions:
        verbs = {"set": "=", "ablate": "=", "scale": "x", "add": "+"}
        cells = [
            cell
            for value, after in zip(one.values, one.after, strict=True)
            for cell in (f"{verbs[one.kind]} {value:.4g}", f"{after:.4g}")
        ]
        table.add_row(one.unit, f"{one.before:.4g}", *cells)
    return table


def _make_metric_table(record: SteeringRecord) -> Table:
    table = make_table("", record.metric, "mean [95 %]", "change [95 %]")
    values = [[prompt.before for prompt in record.prompts]]
    values += [[prompt.after[i] for prompt in record.prompts] for i in range(len(record.after))]
    names, means = ["model", *_name_runs(record)], [record.before, *record.after]
    changes = [None, *record.change]
    for name, own, mean, change in zip(names, values, means, changes, strict=True):
        shown = f"{own[0]:.3f}" if mean is None else format_mean(mean)
        table.add_row(name, shown, "" if change is None else format_mean(change))
    return table


def _make_prompt_table(record: SteeringRecord, prompt: SteeredPromptRecord) -> Table:
    goes_on = prompt.continuation_before is not None
    headings = ("", record.metric, "likeliest next", *(["goes on"] if goes_on else []))
    table = make_table("", *headings, n_left=4)
    names, values = ["model", *_name_runs(record)], [prompt.before, *prompt.after]
    tops = [prompt.top_before, *prompt.top_after]
    texts = [prompt.continuation_before, *prompt.continuation_after]
    for number, name in enumerate(names):
        more = [repr(texts[number])] if goes_on else []
        table.add_row(name, f"{values[number]:.3f}", _format_tokens(tops[number]), *more)
    return table


def _format_tokens(tokens: Sequence[TokenRecord]) -> str:
    return "  ".join(f"{token.text!r} {token.probability:.1%}" for token in tokens)
