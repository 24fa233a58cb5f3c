"""Options that several commands share, and ``--config FILE``."""

from __future__ import annotations

import math
import tomllib
from pathlib import Path
from typing import Annotated, Any, get_args, get_type_hints

import typer

from circuitgraph.cli.settings import with_table
from circuitgraph.errors import ArgumentError, check_at_least, list_problems, unknown_name


def read_config(context: Any, path: Path | None) -> Path | None:
    """Take defaults of this command's options from a TOML file; the command line still goes first."""
    if path is None:
        return None
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ArgumentError(f"The config file {str(path)!r} cannot be read: {error}") from error
    known = {_option(p): p for p in context.command.params if p.name not in ("config", "help")}
    given: dict[str, Any] = {key.replace("_", "-"): value for key, value in content.items()}
    problems = [str(unknown_name("option", key, known)) for key in given if key not in known]
    types = get_type_hints(context.command.callback)
    for key in set(given) & set(known):
        hint = types[known[key].name]
        wanted, allowed = _EXPECTED[(get_args(hint) or (hint,))[0]]
        if key == "thresholds" and type(given[key]) is list:
            given[key] = ",".join(map(str, given[key]))
        if type(given[key]) not in allowed:
            problems.append(f"{key} = {given[key]!r}: expected {wanted}")
        elif allowed == (dict,):
            given[key] = with_table(given[key].items())
    if problems:
        raise ArgumentError(
            list_problems(f"The config file {str(path)!r} cannot be used:", sorted(problems))
        )
    names = {str(known[key].name): value for key, value in given.items()}
    context.default_map = {**(context.default_map or {}), **names}
    return path


# What TOML must give for an option of that type.
_EXPECTED: dict[Any, tuple[str, tuple[type, ...]]] = {
    bool: ("true or false", (bool,)),
    int: ("a whole number", (int,)),
    float: ("a number", (int, float)),
    str: ("a text in quotes", (str,)),
    Path: ("a text in quotes", (str,)),
    list[str]: ("a table of settings", (dict,)),
}


def _option(parameter: Any) -> str:
    """How a parameter is called on the command line, without its dashes."""
    return max(parameter.opts, key=len).lstrip("-")


def prompts_typed(context: Any, parameter: Any, value: Any) -> Any:
    """A task or data file that the command line names replaces both that a config file names.

    What is typed is processed before what is not, so that the latter can still be taken back.
    """
    source = context.get_parameter_source(parameter.name)
    if source is not None and source.name == "COMMANDLINE" and context.default_map:
        for name in ("task", "task_option", "data"):
            context.default_map.pop(name, None)
    return value


ModelOption = Annotated[
    str | None,
    typer.Option(
        "--model",
        help="Folder, shipped model or hub name. [default: the model shipped for the task]",
    ),
]
DataOption = Annotated[
    Path | None,
    typer.Option(
        "--data",
        callback=prompts_typed,
        help="JSONL file of pairs: clean, corrupted, answer, distractor. Instead of a task.",
    ),
]
ThresholdOption = Annotated[
    float | None,
    typer.Option(
        "--threshold",
        help="ACDC removes an edge that costs less than this, in the metric's unit. [default: 0.1]",
    ),
]
ThresholdsOption = Annotated[
    str | None,
    typer.Option(
        "--thresholds", help="Several, rising, between commas: one run of ACDC, a circuit for each."
    ),
]
NEdgesOption = Annotated[
    int | None, typer.Option("--n-edges", help="Size of the circuit, for searches that rank.")
]
SelectionOption = Annotated[
    str | None, typer.Option("--selection", help="How ranked edges are selected: top or greedy.")
]
StepsOption = Annotated[
    int | None, typer.Option("--steps", help="Steps of a search that integrates or learns.")
]
AbsoluteOption = Annotated[
    bool | None,
    typer.Option(
        "--absolute/--signed",
        help="Judge an edge by the size of its effect, or by its sign as well.",
    ),
]
DirectOption = Annotated[
    bool, typer.Option("--direct", help="The ACDC reference's graph, with direct q/k/v edges.")
]
HeadsOption = Annotated[
    str | None,
    typer.Option(
        "--heads",
        help="ACDC's order of a layer's heads: ascending or descending. [default: descending]",
    ),
]
SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="NAME=VALUE",
        help="Any setting of the algorithm; see `circuitgraph list algorithms`.",
    ),
]
TaskSetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--task-set",
        metavar="NAME=VALUE",
        help="Any setting of the task; see `circuitgraph list tasks`.",
    ),
]
MetricOption = Annotated[
    str | None,
    typer.Option("--metric", help="See `circuitgraph list metrics`. [default: the task's]"),
]
AblationOption = Annotated[
    str | None,
    typer.Option(
        "--ablation", help="What an absent edge carries: resample, mean, mean-positional or zero."
    ),
]
GroupedOption = Annotated[
    bool,
    typer.Option(
        "--grouped", help="One k and one v reader for each key-value head, not for each query head."
    ),
]
SeedOption = Annotated[int, typer.Option("--seed", help="Seed of the prompts.")]
MemoryOption = Annotated[
    float | None,
    typer.Option(
        "--memory", help="Limit for one launch on each device, in GiB. [default: by the machine]"
    ),
]
JsonOption = Annotated[
    bool, typer.Option("--json", help="Print the record as JSON on stdout, nothing else.")
]
QuietOption = Annotated[
    bool, typer.Option("--quiet", "-q", help="No bars, tables or messages; errors only.")
]
ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config",
        callback=read_config,
        is_eager=True,
        help="TOML file with options by their names, such as threshold = 0.05.",
    ),
]


def check_counts(limit: int | None, least: int, seed: int | None) -> None:
    """Refuse a number of prompts below ``least``, and a negative seed."""
    if limit is not None:
        check_at_least("--limit", limit, least)
    if seed is not None:
        check_at_least("--seed", seed, 0)


def memory_bytes(gibibytes: float | None) -> int | None:
    """The memory option in bytes."""
    if gibibytes is None:
        return None
    if not 0 < gibibytes < math.inf:
        raise ArgumentError(f"--memory is {gibibytes}, but must be a positive number of GiB.")
    return int(gibibytes * 2**30)
