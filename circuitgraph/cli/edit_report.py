"""How ``circuitgraph edit`` shows what was edited and what that did."""

from __future__ import annotations

from itertools import repeat
from typing import TYPE_CHECKING

from rich.table import Table

from circuitgraph.cli.tables import format_mean, make_table

if TYPE_CHECKING:
    from circuitgraph.catalog.edit_record import EditRecord, TuningRecord, WeightEditRecord

_N_NAMES = 8  # shown of a list of nodes; the record has all


def make_report(record: EditRecord) -> list[Table | str]:
    """Lines for the edits, a table of tasks, and where the model is."""
    parts: list[Table | str] = [f"{record.model.name}:"]
    parts += [f"  {_describe_edit(edit)}" for edit in record.edits]
    if record.tuning is not None:
        parts += [f"  {line}" for line in _describe_tuning(record.tuning)]
    table = make_table("", "task", "metric", "", "mean [95 %]", "change [95 %]", n_left=3)
    for own, beside in zip(record.tasks, record.random or repeat(None), strict=False):
        table.add_row(own.task.name, own.metric, "before", format_mean(own.before), "")
        table.add_row("", "", "after", format_mean(own.after), format_mean(own.change))
        if beside is not None:
            table.add_row("", "", "random", format_mean(beside.after), format_mean(beside.change))
    parts += ["", table]
    if record.folder is not None:
        n = len(record.tensors)
        parts += ["", f"Written to {record.folder}: {n} tensor{'s' * (n != 1)} changed."]
    return parts


def _describe_edit(edit: WeightEditRecord) -> str:
    names = _list_names(edit.nodes)
    if edit.keep_only:
        return f"kept alone of their kinds: {names}"
    return f"zeroed: {names}" if edit.scale == 0 else f"times {edit.scale:g}: {names}"


def _describe_tuning(tuning: TuningRecord) -> list[str]:
    if tuning.lora is not None:
        what = f"queries and values of layer {tuning.lora.layer} by rank {tuning.lora.rank}"
    else:
        what = "all parameters" if tuning.nodes is None else _list_names(tuning.nodes)
    return [
        f"tuned: {what}: {tuning.n_tuned:,} of {tuning.n_parameters:,} parameters, "
        f"{tuning.steps:,} steps of {tuning.batch_size} prompts, "
        f"{1000 * tuning.step_seconds:.3g} ms each, {tuning.seconds:.1f} s in all",
        f"cross-entropy {tuning.loss_first:.3f} before, {tuning.loss_last:.3f} in the last steps",
    ]


def _list_names(names: list[str]) -> str:
    more = f" and {len(names) - _N_NAMES:,} more" if len(names) > _N_NAMES else ""
    return ", ".join(names[:_N_NAMES]) + more
