"""Options that several commands share."""

from __future__ import annotations

import functools
import inspect
import os
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass, is_dataclass
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer

from circuitgraph.cli.completion import (
    complete_ablations,
    complete_dictionaries,
    complete_metrics,
    complete_models,
)
from circuitgraph.cli.config_file import prefer_typed_prompts, read_config
from circuitgraph.errors import ArgumentError, check_between

_LARGEST_MEMORY = 2**20  # GiB

# The boxes of `--help`: options of one kind stand together.
MODEL, PROMPTS, MEASURE = "Model", "Prompts", "What is measured"
SEARCH, SPACE, NODES = "Search", "Where to look", "What is a node"

ModelOption = Annotated[
    str | None,
    typer.Option(
        "--model",
        autocompletion=complete_models,
        rich_help_panel=MODEL,
        help="Folder, GGUF file, shipped model or hub name. [default: the model shipped for the "
        "task]",
    ),
]


@dataclass(frozen=True)
class LoadingOptions:
    """How a command loads its model: one option for each field, the same in every command."""

    dtype: Annotated[
        str | None,
        typer.Option(
            "--dtype",
            rich_help_panel=MODEL,
            help="Precision: float32, bfloat16, float16 or float64. [default: a circuit's own, "
            "else float32]",
        ),
    ] = None
    revision: Annotated[
        str | None,
        typer.Option(
            "--revision",
            rich_help_panel=MODEL,
            help="Branch, tag or commit on the hub. [default: a circuit's own, else main]",
        ),
    ] = None
    model_config: Annotated[
        Path | None,
        typer.Option(
            "--model-config",
            rich_help_panel=MODEL,
            help="JSON with a TransformerLens checkpoint's configuration.",
        ),
    ] = None
    local_only: Annotated[
        bool,
        typer.Option(
            "--local-only", rich_help_panel=MODEL, help="Use the hub's cache only, no network."
        ),
    ] = False
    trust_remote_code: Annotated[
        bool,
        typer.Option(
            "--trust-remote-code",
            rich_help_panel=MODEL,
            help="Let the checkpoint's own Python read its configuration and tokens.",
        ),
    ] = False

    shard: Annotated[
        int | None,
        typer.Option(
            "--shard",
            rich_help_panel=MODEL,
            metavar="N",
            help="Cut each weight over N devices, for a model larger than one of them. "
            "[default: all weights on each device]",
        ),
    ] = None

    ignore_config_field: Annotated[
        list[str] | None,
        typer.Option(
            "--ignore-config-field",
            rich_help_panel=MODEL,
            metavar="NAME",
            help="A field of config.json that is refused, and that you know to change nothing; "
            "may be given several times.",
        ),
    ] = None

    @property
    def keywords(self) -> dict[str, Any]:
        """What was given, as keywords of `circuitgraph.load_model`."""
        options = {
            "dtype": self.dtype,
            "revision": self.revision,
            "config": self.model_config,
            "local_only": self.local_only or None,
            "trust_remote_code": self.trust_remote_code or None,
            "shard": self.shard,
            "ignore_config_fields": self.ignore_config_field or None,
        }
        return {name: value for name, value in options.items() if value is not None}

    def with_dictionaries(self, dictionaries: list[str] | None) -> dict[str, Any]:
        """``keywords`` with the dictionaries that go beside the model, if any were named."""
        return self.keywords | ({"dictionaries": dictionaries} if dictionaries else {})


AS_RECORDED = LoadingOptions()  # nothing is given


def expand_options(command: Callable[..., None]) -> Callable[..., None]:
    """A command in which a parameter that is a dataclass, such as `LoadingOptions`, is one option
    for each of its fields.
    """
    hints = get_type_hints(command, include_extras=True)
    groups: dict[str, Any] = {name: hint for name, hint in hints.items() if is_dataclass(hint)}
    options = {name: get_type_hints(group, include_extras=True) for name, group in groups.items()}

    @functools.wraps(command)
    def run_command(**given: Any) -> None:
        made: dict[str, Any] = {
            name: group(**{option: given.pop(option) for option in options[name]})
            for name, group in groups.items()
        }
        prepare_precision(made["loading"].dtype)
        command(**given, **made)

    kind = inspect.Parameter.KEYWORD_ONLY
    parameters: list[inspect.Parameter] = []
    for name, parameter in inspect.signature(command).parameters.items():
        parameters += [
            inspect.Parameter(option, kind, default=getattr(groups[name], option), annotation=hint)
            for option, hint in options.get(name, {}).items()
        ] or [parameter.replace(kind=kind, annotation=hints[name])]
    # what typer reads, and what config files are checked by
    run_command.__signature__ = inspect.Signature(parameters)  # pyright: ignore
    run_command.__annotations__ = {p.name: p.annotation for p in parameters}
    return run_command


def prepare_precision(dtype: str | None) -> None:
    """Allow for float64: jax reads this when it is imported, which must not have happened yet."""
    if dtype == "float64":
        os.environ.setdefault("JAX_ENABLE_X64", "1")


def format_loading(keywords: Mapping[str, Any]) -> str:
    """Keywords of `circuitgraph.load_model` as options, where they are not the defaults."""
    names = {"config": "model-config", "ignore_config_fields": "ignore-config-field"}
    words = []
    for name, value in keywords.items():
        option = f"--{names.get(name, name).replace('_', '-')}"
        if isinstance(value, list):
            words += [word for each in value for word in (option, each)]
        elif (name, value) != ("dtype", "float32"):
            words += [option] if value is True else [option, str(value)]
    return f" {shlex.join(words)}" if words else ""


def gather_loading(
    loading: LoadingOptions, provenance: Mapping[str, Any], *, is_own: bool, path: Path
) -> dict[str, Any]:
    """Keywords of `circuitgraph.load_model` for a stored circuit's model.

    What is not given is as it was when the circuit was searched for.

    Args:
        provenance: of the circuit.
        is_own: whether it is the model that the circuit was searched for in, not another one.
        path: of the circuit, beside which a configuration is looked for too.

    Raises:
        ArgumentError: the search trusted Python of the checkpoint: a record is no leave to run it.
    """
    from circuitgraph.jobs.setup import recall_loading

    keywords = recall_loading(provenance, path, loading.keywords, is_own=is_own)
    prepare_precision(keywords.get("dtype"))
    return keywords


DataOption = Annotated[
    Path | None,
    typer.Option(
        "--data",
        rich_help_panel=PROMPTS,
        callback=prefer_typed_prompts,
        help="File of pairs (.jsonl, .csv): clean, corrupted, answer, distractor. Instead of a "
        "task.",
    ),
]
ThresholdOption = Annotated[
    float | None,
    typer.Option(
        "--threshold",
        rich_help_panel=SEARCH,
        help="ACDC removes an edge that changes the metric by less than this, in its unit. "
        "[default: 0.2 % of what lies between the whole model and nothing]",
    ),
]
ThresholdsOption = Annotated[
    str | None,
    typer.Option(
        "--thresholds",
        rich_help_panel=SEARCH,
        help="Several, rising, between commas: one run of ACDC, a circuit for each.",
    ),
]
NEdgesOption = Annotated[
    int | None,
    typer.Option(
        "--n-edges", rich_help_panel=SEARCH, help="Size of the circuit, for searches that rank."
    ),
]
SelectionOption = Annotated[
    str | None,
    typer.Option(
        "--selection", rich_help_panel=SEARCH, help="How ranked edges are selected: top or greedy."
    ),
]
StepsOption = Annotated[
    int | None,
    typer.Option(
        "--steps", rich_help_panel=SEARCH, help="Steps of a search that integrates or learns."
    ),
]
AbsoluteOption = Annotated[
    bool | None,
    typer.Option(
        "--absolute/--signed",
        rich_help_panel=SEARCH,
        help="Judge an edge by the size of its effect, or by its sign as well.",
    ),
]
DirectOption = Annotated[
    bool,
    typer.Option(
        "--direct",
        rich_help_panel=SEARCH,
        help="The ACDC reference's graph, with direct q/k/v edges.",
    ),
]
HeadsOption = Annotated[
    str | None,
    typer.Option(
        "--heads",
        rich_help_panel=SEARCH,
        help="ACDC's order of a layer's heads: ascending or descending. [default: descending]",
    ),
]
SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        rich_help_panel=SEARCH,
        metavar="NAME=VALUE",
        help="Any setting of the algorithm; see `circuitgraph list algorithms`.",
    ),
]
TaskSetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--task-set",
        rich_help_panel=PROMPTS,
        metavar="NAME=VALUE",
        help="Any setting of the task; see `circuitgraph list tasks`.",
    ),
]
BosOption = Annotated[
    str | None,
    typer.Option(
        "--bos",
        rich_help_panel=PROMPTS,
        help="Whether BOS stands before every prompt: yes, no, or auto, as the tokenizer itself "
        "does. [default: auto]",
    ),
]
ChatOption = Annotated[
    bool | None,
    typer.Option(
        "--chat/--no-chat",
        rich_help_panel=PROMPTS,
        help="Render a file's prompts by the model's chat template.",
    ),
]
MetricOption = Annotated[
    str | None,
    typer.Option(
        "--metric",
        autocompletion=complete_metrics,
        rich_help_panel=MEASURE,
        help="See `circuitgraph list metrics`. [default: the task's]",
    ),
]
AblationOption = Annotated[
    str | None,
    typer.Option(
        "--ablation",
        autocompletion=complete_ablations,
        rich_help_panel=MEASURE,
        help="What an absent edge carries: resample, mean, mean-positional or zero.",
    ),
]
GranularityOption = Annotated[
    str | None,
    typer.Option(
        "--granularity",
        rich_help_panel=NODES,
        help="head: nodes are heads and MLPs. neuron: some MLPs are cut into neurons and the rest "
        "of them, as --refine says. feature: into features of a --dictionary. [default: head; "
        "neuron with --refine, feature with --dictionary]",
    ),
]
FrozenErrorsOption = Annotated[
    bool,
    typer.Option(
        "--frozen-errors",
        rich_help_panel=NODES,
        help="Keep what dictionaries do not reconstruct as it is in the clean run, whatever their "
        "MLPs read.",
    ),
]
OwnInputsOption = Annotated[
    bool,
    typer.Option(
        "--own-inputs",
        help="Give each neuron or feature an input of its own, with edges into it; by default all "
        "share that of their MLP.",
    ),
]
DictionariesOption = Annotated[
    list[str] | None,
    typer.Option(
        "--dictionary",
        autocompletion=complete_dictionaries,
        rich_help_panel=NODES,
        metavar="NAME",
        help="Sparse autoencoder or transcoder, or a set of them: folder, file or place on the "
        "hub; may be given several times.",
    ),
]
RefineOption = Annotated[
    list[str] | None,
    typer.Option(
        "--refine",
        rich_help_panel=NODES,
        help="MLPs to cut: m3:all or m3:117,204, repeatable; or auto, which searches among heads "
        "and MLPs first, cuts the MLPs of that circuit and goes on inside it. [default: auto]",
    ),
]
UnitsOption = Annotated[
    int | None,
    typer.Option(
        "--units",
        rich_help_panel=NODES,
        help="How many units --refine auto makes nodes, the strongest. [default: 64]",
    ),
]
SplitSourcesOption = Annotated[
    list[str] | None,
    typer.Option(
        "--split-sources",
        rich_help_panel=NODES,
        metavar="HEAD[:ROLES]",
        help="A head to cut by where it fetches: a3.h5:IO,S1 (roles or positions), or a3.h5 for "
        "all roles that are tokens of their own; may be given several times.",
    ),
]
GroupedOption = Annotated[
    bool,
    typer.Option(
        "--grouped",
        rich_help_panel=NODES,
        help="One k and one v reader for each key-value head, not for each query head.",
    ),
]
CircuitArgument = Annotated[
    Path,
    typer.Argument(
        help="Folder of a circuit, its circuit.json, or an entry of the catalog: MODEL/TASK/SLUG."
    ),
]
SplitOption = Annotated[
    str,
    typer.Option(
        "--split", rich_help_panel=PROMPTS, help="Which prompts: evaluation or discovery."
    ),
]
SeedOption = Annotated[
    int, typer.Option("--seed", rich_help_panel=PROMPTS, help="Seed of the prompts.")
]
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
    """Refuse fewer prompts than ``minimum`` or too many, and a seed that no record holds."""
    from circuitgraph.catalog.records import LARGEST_SEED
    from circuitgraph.tasks.base import MOST_PROMPTS

    if limit is not None:
        check_between("--limit", limit, minimum, MOST_PROMPTS)
    if seed is not None:
        check_between("--seed", seed, 0, LARGEST_SEED)


def convert_to_bytes(gibibytes: float | None) -> int | None:
    """The memory option in bytes."""
    if gibibytes is None:
        return None
    if not 0 < gibibytes <= _LARGEST_MEMORY:
        raise ArgumentError(
            f"--memory is {gibibytes}, but must be a positive number of GiB, at most "
            f"{_LARGEST_MEMORY:,}."
        )
    return int(gibibytes * 2**30)
