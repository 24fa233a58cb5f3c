"""``circuitgraph discover``: from a model and a behaviour to a drawn, judged, stored circuit."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypedDict

import typer

import circuitgraph as cg
from circuitgraph.cli import options
from circuitgraph.cli.config_file import prefer_typed_prompts
from circuitgraph.cli.inputs import (
    check_names,
    check_task,
    choose_model,
    gather_task_settings,
    keep_compiled_programs,
    load_inputs,
)
from circuitgraph.cli.options import check_counts, convert_to_bytes
from circuitgraph.cli.output import Output
from circuitgraph.cli.run_folder import choose_run_folder
from circuitgraph.cli.settings import gather_settings, read_thresholds
from circuitgraph.cli.space_options import (
    InsideOption,
    ProtectOption,
    StartFromOption,
    WithoutOption,
    read_space,
)
from circuitgraph.errors import ArgumentError, check_between, check_choice

if TYPE_CHECKING:
    from circuitgraph.discovery.base import Algorithm


_MOST_UNITS = 10**6


class Setup(TypedDict):
    """What every search is told, whatever its algorithm: keywords of `circuitgraph.discover`."""

    metric: str | None
    ablation: str
    grouped: bool
    n_prompts: int | None
    memory: int | None


@options.expand_options
def discover(
    task: Annotated[
        str | None,
        typer.Argument(
            callback=prefer_typed_prompts, help="A task; see `circuitgraph list tasks`."
        ),
    ] = None,
    task_option: Annotated[
        str | None,
        typer.Option("--task", callback=prefer_typed_prompts, help="The same, as an option."),
    ] = None,
    model: options.ModelOption = None,
    loading: options.LoadingOptions = options.AS_RECORDED,
    data: options.DataOption = None,
    task_assignments: options.TaskSetOption = None,
    metric: options.MetricOption = None,
    algorithm: Annotated[
        str, typer.Option("--algorithm", help="See `circuitgraph list algorithms`.")
    ] = "acdc",
    threshold: options.ThresholdOption = None,
    thresholds: options.ThresholdsOption = None,
    n_edges: options.NEdgesOption = None,
    selection: options.SelectionOption = None,
    steps: options.StepsOption = None,
    absolute: options.AbsoluteOption = None,
    direct: options.DirectOption = False,
    heads: options.HeadsOption = None,
    assignments: options.SetOption = None,
    without: WithoutOption = None,
    protect: ProtectOption = None,
    inside: InsideOption = None,
    start_from: StartFromOption = None,
    granularity: options.GranularityOption = None,
    dictionaries: options.DictionariesOption = None,
    frozen_errors: options.FrozenErrorsOption = False,
    own_inputs: options.OwnInputsOption = False,
    refine: options.RefineOption = None,
    units: options.UnitsOption = None,
    grouped: options.GroupedOption = False,
    ablation: options.AblationOption = "resample",
    bos: options.BosOption = None,
    chat: options.ChatOption = None,
    judging: Annotated[
        bool,
        typer.Option(
            "--judging/--no-judging",
            help="Judge the circuit on pairs that are kept for it. Without, a file of few pairs "
            "will do, or of one; the record says so.",
        ),
    ] = True,
    limit: Annotated[
        int | None, typer.Option("--limit", help="Number of discovery prompts. [default: 50]")
    ] = None,
    seed: options.SeedOption = 0,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="New folder for the results. [default: runs/TASK]"),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace what is in that folder.")
    ] = False,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume", help="Go on with a search that was stopped, where its journal ends."
        ),
    ] = False,
    memory: options.MemoryOption = None,
    config: options.ConfigOption = None,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            help="Only print size, memory, number of evaluations and time, told from a "
            "timed sample of steps.",
        ),
    ] = False,
    as_json: options.JsonOption = False,
    quiet: options.QuietOption = False,
) -> None:
    """Find, judge, draw and store the circuit of a task.

    Writes circuit.json, scores.safetensors, journal.jsonl, circuit.dot and (where Graphviz is
    installed) circuit.svg; with --thresholds curve.csv, curve.json and a folder for each circuit.

    Examples:

    - `circuitgraph discover induction`

    - `circuitgraph discover induction --threshold 0.5 --metric kl --out runs/strict`

    - `circuitgraph discover induction --thresholds 0.01,0.03,0.1,0.3`

    - `circuitgraph discover induction --algorithm eap-ig-inputs --n-edges 20 --set steps=10`

    - `circuitgraph discover --model ./my-model --data pairs.jsonl --metric logit_difference`

    - `circuitgraph discover induction --inside runs/induction --protect a1.h6 --out runs/part`

    - `circuitgraph discover addition --granularity neuron --units 32 --metric kl`

    - `circuitgraph discover addition --dictionary ./transcoders --refine m0:all --metric kl`

    - `circuitgraph discover --resume`, with the options of a search that was stopped
    """
    from circuitgraph.cli.discover_report import (
        describe_prompts,
        forecast_search,
        store_curve,
        store_run,
    )

    del config  # it was read by its option's callback
    # All that can be refused is refused first: before a model is loaded or a folder is made.
    output, task = Output(as_json, quiet), _choose_task(task, task_option)
    common_settings = {
        "threshold": threshold,
        "n_edges": n_edges,
        "selection": selection,
        "steps": steps,
        "heads": heads,
        "absolute": absolute,
        "direct": direct or None,
    }
    settings = gather_settings(common_settings, assignments or [])
    task_settings = gather_task_settings(task_assignments or [], bos, chat, judging)
    sweep_thresholds = _read_sweep_thresholds(thresholds, algorithm, settings, judging)
    setup = Setup(
        metric=metric,
        ablation=ablation or "resample",
        grouped=grouped,
        n_prompts=limit,
        memory=convert_to_bytes(memory),
    )
    check_names(metric, ablation)
    check_counts(limit, 1, seed)
    space = read_space(without, protect, inside, start_from)
    granularity = granularity or ("feature" if dictionaries else None)
    refinement = _read_refinement(granularity, refine, units, sweep_thresholds is not None)
    _check_dictionaries(dictionaries, refinement, frozen_errors)
    refinement |= {"frozen_errors": True} if frozen_errors else {}
    refinement |= _read_own_inputs(own_inputs, refinement)
    model = choose_model(model, task, data)
    check_task(task, task_settings)
    lowest = {"threshold": sweep_thresholds[0]} if sweep_thresholds else {}
    search = _make_algorithm(algorithm, {**settings, **lowest}, task, setup)
    keep_compiled_programs()
    keywords = loading.with_dictionaries(dictionaries)
    inputs = (output, model, task, data, seed, task_settings, keywords)
    if dry_run:
        loaded_model, loaded_task = load_inputs(*inputs)
        n_searches = len(sweep_thresholds or (0,))
        forecast_search(
            output, loaded_model, loaded_task, search, setup, space, n_searches, refinement
        )
        return
    name = task or (data.stem if data else "circuit")
    folder = choose_run_folder(out, name, resume=resume, overwrite=overwrite)
    with folder.explain_resuming():
        loaded_model, loaded_task = load_inputs(*inputs)
        describe_prompts(output, loaded_model, loaded_task, limit)
        search_options: dict[str, Any] = {
            **setup,
            **settings,
            **space,
            "bar": output.shows_bars,
            "journal": folder.journal,
            "anew": folder.anew,
        }
        if sweep_thresholds:
            curve = cg.sweep(loaded_model, loaded_task, sweep_thresholds, **search_options)
            store_curve(output, folder, curve)
            return
        circuit = cg.discover(
            loaded_model, loaded_task, algorithm=algorithm, **search_options, **refinement
        )
        evaluation = None
        if judging:
            evaluation = cg.evaluate(
                loaded_model,
                loaded_task,
                circuit,
                memory=setup["memory"],
                bar=output.shows_bars,
            )
        store_run(output, folder, circuit, evaluation)


def _read_refinement(
    granularity: str | None, refine: list[str] | None, units: int | None, is_sweep: bool
) -> dict[str, Any]:
    """Keywords of `circuitgraph.discover`; none for a search among heads and MLPs."""
    from circuitgraph.discovery.refinement import AUTO, GRANULARITIES, parse_refinement

    if granularity is None and refine is None and units is None:
        return {}
    chosen = granularity or "neuron"
    check_choice("--granularity", chosen, GRANULARITIES)
    if chosen == "head":
        if refine is not None or units is not None:
            raise ArgumentError(
                "--refine and --units cut MLPs into parts, but --granularity is head: leave "
                "them out, or use --granularity neuron."
            )
        return {}
    if is_sweep:
        raise ArgumentError("--thresholds searches among heads and MLPs: give one --threshold.")
    if units is not None:
        check_between("--units", units, 1, _MOST_UNITS)
    if units is not None and refine not in (None, ["auto"]):
        raise ArgumentError(f"--units is {units}, but --refine names the units: give one of them.")
    parse_refinement(refine or [AUTO])
    settings: dict[str, Any] = {"granularity": chosen}
    settings |= {} if refine is None else {"refine": refine}
    return settings | ({} if units is None else {"n_units": units})


def _check_dictionaries(
    dictionaries: list[str] | None, refinement: dict[str, Any], frozen_errors: bool
) -> None:
    """Refuse dictionaries without features in the graph, and features without dictionaries."""
    of_features = refinement.get("granularity") == "feature"
    if of_features and not dictionaries:
        raise ArgumentError("--granularity is feature: name a dictionary with --dictionary.")
    if dictionaries and not of_features:
        raise ArgumentError(
            "--dictionary was given, but --granularity is not feature: leave one of them out."
        )
    if frozen_errors and not of_features:
        raise ArgumentError("--frozen-errors was given, but there is no --dictionary with errors.")


def _read_own_inputs(own_inputs: bool, refinement: dict[str, Any]) -> dict[str, Any]:
    if own_inputs and not refinement:
        raise ArgumentError(
            "--own-inputs was given, but there are no neurons or features among the nodes: use "
            "--granularity neuron, or a --dictionary."
        )
    return {"own_inputs": True} if own_inputs else {}


def _choose_task(argument: str | None, option: str | None) -> str | None:
    if argument is not None and option is not None and argument != option:
        raise ArgumentError(f"Two tasks were given, {argument!r} and --task {option!r}: give one.")
    return argument or option


def _read_sweep_thresholds(
    text: str | None, algorithm: str, settings: dict[str, Any], judging: bool
) -> tuple[float, ...] | None:
    """The thresholds of a sweep, which only ACDC has."""
    from circuitgraph.discovery.base import make_algorithm

    thresholds = read_thresholds(text)
    if thresholds is None:
        return None
    if algorithm != "acdc":
        raise ArgumentError(
            f"--thresholds is for algorithm 'acdc', not for {algorithm!r}: give one --threshold."
        )
    if "threshold" in settings:
        raise ArgumentError("Both --threshold and --thresholds were given: give one of them.")
    if not judging:
        raise ArgumentError("--thresholds judges every circuit: it cannot be had --no-judging.")
    make_algorithm(algorithm, **settings, threshold=thresholds[0])  # refuses the lowest, if any
    return thresholds


def _make_algorithm(
    name: str, settings: dict[str, Any], task: str | None, setup: Setup
) -> Algorithm[Any]:
    """The search, checked against its metric, if the metric is known, and against its ablation."""
    from circuitgraph.discovery.base import make_algorithm
    from circuitgraph.engine.ablation import ablations
    from circuitgraph.tasks.base import tasks
    from circuitgraph.tasks.metrics import metrics

    algorithm = make_algorithm(name, **settings)
    # Of a data file the default metric is not known before the file is read.
    metric = setup["metric"] or (None if task is None else tasks[task].metric)
    if metric is not None:
        algorithm.check_metric(metrics[metric], ablations[setup["ablation"]])
    return algorithm
