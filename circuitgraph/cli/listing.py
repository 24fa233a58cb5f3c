"""``circuitgraph list``: what there is to choose from."""

from __future__ import annotations

import json
from functools import partial
from typing import Annotated, Any

import typer
from rich.table import Table

from circuitgraph.cli.options import JsonOption, QuietOption
from circuitgraph.cli.output import Output
from circuitgraph.errors import unknown_name
from circuitgraph.foreign import read_json
from circuitgraph.registry import read_summary

KINDS = (
    "models",
    "dictionaries",
    "tasks",
    "metrics",
    "algorithms",
    "ablations",
    "analyses",
    "properties",
)


def list_names(
    kind: Annotated[str, typer.Argument(help=f"One of: {', '.join(KINDS)}.")],
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """List what is shipped (models, dictionaries), and what there is to choose: tasks, algorithms,
    analyses and properties of hypotheses, with their settings; metrics or ablations.

    Example: `circuitgraph list algorithms`
    """
    if kind not in KINDS:
        raise unknown_name("kind of list", kind, KINDS)
    listings = {
        "models": _list_models,
        "dictionaries": _list_dictionaries,
        "algorithms": _list_algorithms,
        "analyses": _list_analyses,
        "tasks": _list_tasks,
        "properties": _list_properties,
    }
    rows = listings.get(kind, partial(_list_registered, kind))()
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(no_wrap=True)
    table.add_column()
    for row in rows:
        table.add_row(row["name"], row["description"].replace("``", "`"))
        if row.get("settings"):
            settings = (f"{name}={json.dumps(value)}" for name, value in row["settings"].items())
            table.add_row("", ", ".join(settings))
    Output(as_json, quiet).print_result(json.dumps(rows, indent=2), table)


def _list_algorithms() -> list[dict[str, Any]]:
    """Each search with its settings' defaults and the meaning of its scores."""
    from circuitgraph.discovery.base import algorithms, list_defaults

    return [
        {
            "name": name,
            "description": read_summary(algorithms[name]),
            "score": algorithms[name].score,
            "settings": list_defaults(name),
        }
        for name in algorithms.names()
    ]


def _list_analyses() -> list[dict[str, Any]]:
    """Each method with its source and its settings; null where one must be given."""
    from circuitgraph.analysis.base import analyses

    return [
        {
            "name": name,
            "description": analyses[name].description,
            "source": analyses[name].source,
            "settings": analyses[name].defaults,
        }
        for name in analyses.names()
    ]


def _list_tasks() -> list[dict[str, Any]]:
    """Each grammar with its settings' defaults and the model that is shipped for it."""
    from circuitgraph.tasks.base import tasks

    return [
        {
            "name": name,
            "description": tasks[name].description,
            "model": tasks[name].model,
            "metric": tasks[name].metric,
            "settings": tasks[name].fill_arguments({}),
        }
        for name in tasks.names()
    ]


def _list_properties() -> list[dict[str, Any]]:
    """Each property of the library with its settings; null where one must be given."""
    from circuitgraph.hypotheses.properties.base import describe_property, library

    names = library.names()
    return [
        dict(
            zip(("name", "description", "settings"), (name, *describe_property(name)), strict=True)
        )
        for name in names
    ]


def _list_registered(kind: str) -> list[dict[str, Any]]:
    if kind == "metrics":
        from circuitgraph.tasks.metrics import metrics as registry
    else:
        from circuitgraph.engine.ablation import ablations as registry
    return [{"name": name, "description": registry[name].description} for name in registry.names()]


def _list_dictionaries() -> list[dict[str, Any]]:
    from circuitgraph.models.dictionaries.files import shipped_dictionaries

    return [
        {"name": name, "description": str(folder)}
        for name, folder in shipped_dictionaries().items()
    ]


def _list_models() -> list[dict[str, Any]]:
    from circuitgraph.models.constructed.named_programs import PREFIX, named_programs
    from circuitgraph.models.loading import shipped_models

    rows = []
    for name, folder in shipped_models().items():
        config = read_json(folder / "config.json")
        rows.append({"name": name, "description": f"{config['model_type']}, {folder}"})
    return rows + [
        {"name": PREFIX + name, "description": named_programs[name].description}
        for name in sorted(named_programs)
    ]
