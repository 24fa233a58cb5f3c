"""Where a command does its jobs: options that several commands share."""

from __future__ import annotations

from typing import Annotated

import typer

WORKERS = "Where it runs"

WorkersOption = Annotated[
    int,
    typer.Option(
        "--workers",
        rich_help_panel=WORKERS,
        help="Processes of this machine that share the work; 1 is the command's own.",
    ),
]
SchedulerOption = Annotated[
    str | None,
    typer.Option(
        "--scheduler",
        rich_help_panel=WORKERS,
        metavar="ADDRESS",
        help="A Dask scheduler whose workers do the work, such as tcp://10.0.0.1:8786. It is "
        "trusted: it runs code. (pip install 'circuitgraph-interp[cluster]')",
    ),
]
