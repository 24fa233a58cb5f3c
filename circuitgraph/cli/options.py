"""Options that several commands share."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated

import typer

from circuitgraph.cli.config_file import prefer_typed_prompts, read_config
from circuitgraph.errors import ArgumentError, check_at_least

ModelOption = Annotated[
    str | None,
    typer.Option(
        "--model",
        help="Folder, GGUF file, shipped model or hub name. [default: the model shipped for the "
        "task]",
    ),
]
DataOption = Annotated[
    Path | None,
    typer.Option(
        "--data",
        callback=prefer_typed_prompts,
        help="File of pairs (.jsonl, .csv): clean, corrupted, answer, distractor. Instead of a "
        "task.",
    ),
]
ThresholdOption = Annotated[
    float | None,
    typer.Option(
        "--threshold",
        help="ACDC removes an edge that changes the metric by less than this, in its unit. "
        "[default: 0.2 % of what lies between the whole model and nothing]",
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
BosOption = Annotated[
    str | None,
    typer.Option(
        "--bos",
        help="Whether BOS stands before every prompt: yes, no, or auto, as the tokenizer itself "
        "does. [default: auto]",
    ),
]
ChatOption = Annotated[
    bool | None,
    typer.Option("--chat/--no-chat", help="Render a file's prompts by the model's chat template."),
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


def check_counts(limit: int | None, minimum: int, seed: int | None) -> None:
    """Refuse fewer prompts than ``minimum``, and a negative seed."""
    if limit is not None:
        check_at_least("--limit", limit, minimum)
    if seed is not None:
        check_at_least("--seed", seed, 0)


def convert_to_bytes(gibibytes: float | None) -> int | None:
    """The memory option in bytes."""
    if gibibytes is None:
        return None
    if not 0 < gibibytes < math.inf:
        raise ArgumentError(f"--memory is {gibibytes}, but must be a positive number of GiB.")
    return int(gibibytes * 2**30)
