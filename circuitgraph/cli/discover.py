"""``circuitgraph discover``: from a model and a behaviour to a drawn, judged, stored circuit."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from circuitgraph.cli import options
from circuitgraph.cli.completion import complete_algorithms, complete_tasks
from circuitgraph.cli.config_file import prefer_typed_prompts
from circuitgraph.cli.inputs import (
    check_names,
    choose_setup,
    gather_task_settings,
    keep_compiled_programs,
    open_setup,
)
from circuitgraph.cli.options import check_counts, convert_to_bytes
from circuitgraph.cli.output import Output
from circuitgraph.cli.processes import (
    ONE_PROCESS,
    ProcessOptions,
    join_processes,
    own_output,
)
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
    from circuitgraph.jobs.setup import GraphChoice, Setup


_MOST_UNITS = 10**6


@options.expand_options
def discover(
    task: Annotated[
        str | None,
        typer.Argument(
            callback=prefer_typed_prompts,
            autocompletion=complete_tasks,
            help="A task; see `circuitgraph list tasks`.",
        ),
    ] = None,
    task_option: Annotated[
        str | None,
        typer.Option(
            "--task",
            callback=prefer_typed_prompts,
            autocompletion=complete_tasks,
            help="The same, as an option.",
        ),
    ] = None,
    model: options.ModelOption = None,
    loading: options.LoadingOptions = options.AS_RECORDED,
    data: options.DataOption = None,
    task_assignments: options.TaskSetOption = None,
    metric: options.MetricOption = None,
    algorithm: Annotated[
        str,
        typer.Option(
            "--algorithm",
            autocompletion=complete_algorithms,
            help="See `circuitgraph list algorithms`.",
        ),
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
    split_sources: options.SplitSourcesOption = None,
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
    processes: ProcessOptions = ONE_PROCESS,
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

    - `circuitgraph discover induction --split-sources a1.h6 --out runs/sources`

    - `circuitgraph discover --resume`, with the options of a search that was stopped
    """
    from circuitgraph.cli.discover_report import (
        describe_prompts,
        forecast_search,
        store_curve,
        store_run,
    )
    from circuitgraph.jobs.discover import SearchPlan, find_circuit
    from circuitgraph.jobs.evaluate import evaluate_circuit
    from circuitgraph.jobs.setup import Terms
    from circuitgraph.jobs.sweep import sweep_thresholds

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
    curve_thresholds = _read_sweep_thresholds(thresholds, algorithm, settings, judging)
    memory_limit = convert_to_bytes(memory)
    check_names(metric, ablation)
    check_counts(limit, 1, seed)
    processes.check(loading.shard, resume=resume, dry_run=dry_run)
    space = read_space(without, protect, inside, start_from)
    granularity = granularity or ("feature" if dictionaries else None)
    graph = _choose_graph(granularity, refine, units, grouped, curve_thresholds is not None)
    graph = _add_dictionaries(graph, dictionaries, frozen_errors)
    graph = _give_own_inputs(graph, own_inputs)
    graph = _split_sources(graph, split_sources or [])
    setup = choose_setup(
        model,
        task,
        data,
        seed=seed,
        task_settings=task_settings,
        loading=loading.with_dictionaries(dictionaries),
        terms=Terms(
            graph=graph, metric=metric, ablation=ablation, n_prompts=limit, memory=memory_limit
        ),
    )
    lowest = {"threshold": curve_thresholds[0]} if curve_thresholds else {}
    plan = SearchPlan(_make_algorithm(algorithm, {**settings, **lowest}, setup), space)
    keep_compiled_programs()
    if dry_run:
        bench = open_setup(output, setup)
        forecast_search(output, bench, plan, len(curve_thresholds or (0,)))
        return
    name = task or (data.stem if data else "circuit")
    with own_output(processes, output, out) as (output, out):
        folder = choose_run_folder(out, name, resume=resume, overwrite=overwrite)
        plan = replace(plan, journal=folder.journal, anew=folder.anew)
        with folder.explain_resuming():
            join_processes(processes)
            bench = open_setup(output, setup)
            describe_prompts(output, bench)
            if curve_thresholds:
                store_curve(output, folder, sweep_thresholds(bench, plan, curve_thresholds))
                return
            circuit = find_circuit(bench, plan)
            evaluation = evaluate_circuit(bench, circuit) if judging else None
            store_run(output, folder, circuit, evaluation)


def _choose_graph(
    granularity: str | None,
    refine: list[str] | None,
    units: int | None,
    grouped: bool,
    is_sweep: bool,
) -> GraphChoice:
    """Which graph the options ask for: of heads and MLPs, or with MLPs cut into parts."""
    from circuitgraph.discovery.refinement import GRANULARITIES, parse_refinement
    from circuitgraph.jobs.setup import GraphChoice

    choice = GraphChoice(grouped=grouped)
    if granularity is None and refine is None and units is None:
        return choice
    kind = granularity or "neuron"
    check_choice("--granularity", kind, GRANULARITIES)
    if kind == "head":
        if refine is not None or units is not None:
            raise ArgumentError(
                "--refine and --units cut MLPs into parts, but --granularity is head: leave "
                "them out, or use --granularity neuron."
            )
        return choice
    if is_sweep:
        raise ArgumentError("--thresholds searches among heads and MLPs: give one --threshold.")
    if units is not None:
        check_between("--units", units, 1, _MOST_UNITS)
    if units is not None and refine not in (None, ["auto"]):
        raise ArgumentError(f"--units is {units}, but --refine names the units: give one of them.")
    choice = replace(choice, granularity=kind, refine=refine or choice.refine)
    parse_refinement(choice.refine)
    return choice if units is None else replace(choice, n_units=units)


def _add_dictionaries(
    graph: GraphChoice, dictionaries: list[str] | None, frozen_errors: bool
) -> GraphChoice:
    """The choice with the errors of its dictionaries frozen or not.

    Raises:
        ArgumentError: dictionaries without features in the graph, or features without dictionaries.
    """
    of_features = graph.granularity == "feature"
    if of_features and not dictionaries:
        raise ArgumentError("--granularity is feature: name a dictionary with --dictionary.")
    if dictionaries and not of_features:
        raise ArgumentError(
            "--dictionary was given, but --granularity is not feature: leave one of them out."
        )
    if frozen_errors and not of_features:
        raise ArgumentError("--frozen-errors was given, but there is no --dictionary with errors.")
    return replace(graph, frozen_errors=frozen_errors)


def _give_own_inputs(graph: GraphChoice, own_inputs: bool) -> GraphChoice:
    if own_inputs and graph.granularity == "head":
        raise ArgumentError(
            "--own-inputs was given, but there are no neurons or features among the nodes: use "
            "--granularity neuron, or a --dictionary."
        )
    return replace(graph, own_inputs=own_inputs)


def _split_sources(graph: GraphChoice, texts: list[str]) -> GraphChoice:
    from circuitgraph.discovery.head_sources import parse_head_sources

    parse_head_sources(texts)
    return replace(graph, split_sources=tuple(texts))


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


def _make_algorithm(name: str, settings: dict[str, Any], setup: Setup) -> Algorithm[Any]:
    """The search, checked against its metric, if the metric is known, and against its ablation."""
    from circuitgraph.discovery.base import make_algorithm
    from circuitgraph.engine.ablation import ablations
    from circuitgraph.tasks.base import tasks
    from circuitgraph.tasks.metrics import metrics

    algorithm = make_algorithm(name, **settings)
    # Of a data file the default metric is not known before the file is read.
    is_file = isinstance(setup.task, Path)
    metric = setup.metric or (None if is_file else tasks[str(setup.task)].metric)
    if metric is not None:
        algorithm.check_metric(metrics[metric], ablations[setup.ablation or "resample"])
    return algorithm
