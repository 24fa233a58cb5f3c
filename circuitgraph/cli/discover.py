"""``circuitgraph discover``: from a model and a behaviour to a drawn, judged, stored circuit."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from circuitgraph.catalog.folders import JOURNAL_FILE, check_new_folder, new_folder
from circuitgraph.cli import options
from circuitgraph.cli.options import check_counts, memory_bytes, prompts_typed
from circuitgraph.cli.output import Output
from circuitgraph.cli.place import Place, choose
from circuitgraph.cli.reports import forecast, report_curve, report_run, write_run
from circuitgraph.cli.settings import gathered, read_thresholds
from circuitgraph.cli.shared import (
    check_names,
    check_task,
    choose_model,
    default_metric,
    keep_compiled_programs,
    load,
)
from circuitgraph.errors import ArgumentError

if TYPE_CHECKING:
    from circuitgraph.discovery.base import Algorithm
    from circuitgraph.models.language_model import LanguageModel
    from circuitgraph.tasks.base import Task


def discover(
    task: Annotated[
        str | None,
        typer.Argument(callback=prompts_typed, help="A task; see `circuitgraph list tasks`."),
    ] = None,
    task_option: Annotated[
        str | None, typer.Option("--task", callback=prompts_typed, help="The same, as an option.")
    ] = None,
    model: options.ModelOption = None,
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
    grouped: options.GroupedOption = False,
    ablation: options.AblationOption = "resample",
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
        typer.Option("--dry-run", help="Only print size, memory, number of evaluations and time."),
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

    - `circuitgraph discover --resume`, with the options of a search that was stopped
    """
    del config  # some lines over eighty, of which the options are fifty: typer reads them off this one signature
    output, name = Output(as_json, quiet), _one_task(task, task_option)
    # What can be refused is refused now: before the model is loaded, and before a folder is made.
    given = {
        "threshold": threshold,
        "n_edges": n_edges,
        "selection": selection,
        "steps": steps,
        "heads": heads,
    }
    settings = gathered(
        {**given, "absolute": absolute, "direct": direct or None}, assignments or []
    )
    arguments = gathered({}, task_assignments or [], "--task-set")
    rising, room = _rising(thresholds, algorithm, settings), memory_bytes(memory)
    check_names(metric, ablation)
    check_counts(limit, 1, seed)
    model = choose_model(model, name, data)
    check_task(name, arguments)
    chosen = _algorithm(algorithm, settings, metric or default_metric(name), ablation or "resample")
    keep_compiled_programs()
    question: dict[str, Any] = {
        "metric": metric,
        "ablation": ablation or "resample",
        "grouped": grouped,
    }
    question |= {"n_prompts": limit, "memory": room}
    if dry_run:
        loaded, about = load(output, model, name, data, seed, arguments)
        forecast(output, loaded, about, chosen, question, len(rising or (0,)))
        return
    place = choose(
        out, name or (data.stem if data else "circuit"), resume=resume, overwrite=overwrite
    )
    check_new_folder(place.target, overwrite=overwrite)
    with place.under_way(output):
        loaded, about = load(output, model, name, data, seed, arguments)
        question |= {
            "bar": output.shows_bars,
            "journal": place.journal,
            "anew": place.anew,
            **settings,
        }
        if rising:
            _sweep(output, place, loaded, about, rising, question)
        else:
            _single(output, place, loaded, about, algorithm, question)


def _single(
    output: Output,
    place: Place,
    model: LanguageModel,
    task: Task,
    algorithm: str,
    question: dict[str, Any],
) -> None:
    """One search, its judgement and its folder."""
    from circuitgraph import api

    circuit = api.discover(model, task, algorithm=algorithm, **question)
    with output.waiting("judging it on unseen prompts"):
        evaluation = api.evaluate(model, task, circuit, memory=question["memory"])
    with new_folder(place.target, overwrite=place.overwrite) as inside:
        picture = write_run(inside, circuit, evaluation)
        place.keep_journal(inside, JOURNAL_FILE)
    place.finished()
    report_run(output, circuit, evaluation, place.target, picture)


def _sweep(
    output: Output,
    place: Place,
    model: LanguageModel,
    task: Task,
    thresholds: tuple[float, ...],
    question: dict[str, Any],
) -> None:
    """Searches at several thresholds, and their folder."""
    from circuitgraph import api
    from circuitgraph.catalog.curve_files import write_curve

    curve = api.sweep(model, task, thresholds, **question)
    with new_folder(place.target, overwrite=place.overwrite) as inside:
        record = write_curve(curve.record, curve.circuits, inside)
        place.keep_journal(inside, JOURNAL_FILE)
    place.finished()
    report_curve(output, curve, record, place.target)


def _rising(text: str | None, algorithm: str, settings: dict[str, Any]) -> tuple[float, ...] | None:
    """The thresholds of a sweep, which only ACDC has."""
    thresholds = read_thresholds(text)
    if thresholds is not None and algorithm != "acdc":
        raise ArgumentError(
            f"--thresholds is for algorithm 'acdc', not for {algorithm!r}: give one --threshold."
        )
    if thresholds is not None and "threshold" in settings:
        raise ArgumentError("Both --threshold and --thresholds were given: give one of them.")
    if thresholds is not None:  # as strict as the strictest of them
        _algorithm(algorithm, {**settings, "threshold": thresholds[0]}, None, "resample")
    return thresholds


def _algorithm(
    name: str, settings: dict[str, Any], metric: str | None, ablation: str
) -> Algorithm[Any]:
    """The search, after it has seen what it is to work with, as far as that is known."""
    from circuitgraph.discovery.base import make_algorithm
    from circuitgraph.engine.ablation import ablations
    from circuitgraph.tasks.metrics import metrics

    chosen = make_algorithm(name, **settings)
    if metric is not None:
        chosen.check_metric(metrics[metric], ablations[ablation])
    return chosen


def _one_task(argument: str | None, option: str | None) -> str | None:
    if argument is not None and option is not None and argument != option:
        raise ArgumentError(f"Two tasks were given, {argument!r} and --task {option!r}: give one.")
    return argument or option
