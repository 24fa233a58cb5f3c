"""Options that several commands share, and ``--config FILE``."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Any

import typer

from circuitgraph.errors import ArgumentError, list_problems, unknown_name


def read_config(context: typer.Context, path: Path | None) -> Path | None:
    """Take defaults of this command's options from a TOML file; the command line still goes first."""
    if path is None:
        return None
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ArgumentError(f"The config file {str(path)!r} cannot be read: {error}") from error
    known = {p.name: p for p in context.command.params if p.name not in ("config", "help")}
    given: dict[str, Any] = {key.replace("-", "_"): value for key, value in content.items()}
    problems = [str(unknown_name("option", key, filter(None, known))) for key in given if key not in known]
    problems += [f"{key}: expected one value, not a table" for key, value in given.items() if isinstance(value, dict)]
    if problems:
        raise ArgumentError(list_problems(f"The config file {str(path)!r} cannot be used:", problems))
    context.default_map = {**(context.default_map or {}), **given}
    return path


ModelOption = Annotated[
    str | None,
    typer.Option("--model", help="Folder, shipped model or hub name. [default: the model shipped for the task]"),
]
DataOption = Annotated[
    Path | None,
    typer.Option("--data", help="JSONL file of pairs: clean, corrupted, answer, distractor. Instead of a task."),
]
MetricOption = Annotated[
    str | None, typer.Option("--metric", help="See `circuitgraph list metrics`. [default: the task's]")
]
AblationOption = Annotated[
    str | None,
    typer.Option("--ablation", help="What an absent edge carries: resample, mean, mean-positional or zero."),
]
SeedOption = Annotated[int, typer.Option("--seed", min=0, help="Seed of the prompts.")]
MemoryOption = Annotated[
    float | None, typer.Option("--memory", help="Limit for one launch, in GiB. [default: by the machine]")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the record as JSON on stdout, nothing else.")]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="No bars, tables or messages; errors only.")]
ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config",
        callback=read_config,
        is_eager=True,
        help="TOML file with options by their names, such as threshold = 0.05.",
    ),
]


def memory_bytes(gibibytes: float | None) -> int | None:
    """The memory option in bytes."""
    if gibibytes is None:
        return None
    if not gibibytes > 0:
        raise ArgumentError(f"--memory is {gibibytes}, but must be a positive number of GiB.")
    return int(gibibytes * 2**30)
