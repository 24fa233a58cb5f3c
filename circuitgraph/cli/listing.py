"""``circuitgraph list``: what there is to choose from."""

from __future__ import annotations

import json
from typing import Annotated

import typer
from rich.table import Table

from circuitgraph.cli.options import JsonOption, QuietOption
from circuitgraph.cli.output import Output
from circuitgraph.errors import unknown_name

KINDS = ("models", "tasks", "metrics", "algorithms", "ablations")


def list_names(
    kind: Annotated[str, typer.Argument(help=f"One of: {', '.join(KINDS)}.")],
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """List shipped models, tasks, metrics, algorithms or ablations, with a line on each.

    Example: `circuitgraph list metrics`
    """
    if kind not in KINDS:
        raise unknown_name("kind of list", kind, KINDS)
    rows = _models() if kind == "models" else _registered(kind)
    table = Table(box=None, show_header=False)
    for row in rows:
        table.add_row(row["name"], row["description"])
    Output(as_json, quiet).result(json.dumps(rows, indent=2), table)


def _registered(kind: str) -> list[dict[str, str]]:
    if kind == "tasks":
        from circuitgraph.tasks.base import tasks as registry
    elif kind == "metrics":
        from circuitgraph.tasks.metrics import metrics as registry
    elif kind == "algorithms":
        from circuitgraph.discovery.base import algorithms

        return [
            {"name": name, "description": (algorithms[name].__doc__ or "").partition("\n")[0]}
            for name in algorithms.names()
        ]
    else:
        from circuitgraph.engine.ablation import ablations as registry
    return [{"name": name, "description": registry[name].description} for name in registry.names()]


def _models() -> list[dict[str, str]]:
    from circuitgraph.models.loading import shipped_models

    rows = []
    for name, folder in shipped_models().items():
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        rows.append({"name": name, "description": f"{config['model_type']}, {folder}"})
    return rows
