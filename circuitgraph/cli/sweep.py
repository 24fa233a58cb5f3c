"""``circuitgraph sweep``: many searches into one catalog, with a table of what they came to."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from circuitgraph.cli import options
from circuitgraph.cli.completion import (
    complete_ablations,
    complete_algorithms,
    complete_metrics,
    complete_models,
    complete_tasks,
)
from circuitgraph.cli.inputs import keep_compiled_programs
from circuitgraph.cli.interrupts import repeat_command
from circuitgraph.cli.options import convert_to_bytes
from circuitgraph.cli.output import Output
from circuitgraph.cli.settings import gather_settings, read_numbers
from circuitgraph.cli.sweep_report import list_failures, make_plan_table, make_sweep_table
from circuitgraph.cli.worker_options import SchedulerOption, WorkersOption
from circuitgraph.errors import ArgumentError, list_problems

if TYPE_CHECKING:
    from circuitgraph.catalog.sweep_record import SweepCell, SweepQuestion


@options.expand_options
def sweep(
    task: Annotated[
        list[str] | None,
        typer.Option(
            "--task",
            autocompletion=complete_tasks,
            rich_help_panel=options.PROMPTS,
            help="A task, or a file of pairs. Repeatable, as all options of names here.",
        ),
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option(
            "--limit",
            rich_help_panel=options.PROMPTS,
            help="Number of discovery prompts. [default: 50]",
        ),
    ] = None,
    judging_limit: Annotated[
        int | None,
        typer.Option(
            "--judging-limit",
            rich_help_panel=options.PROMPTS,
            help="Number of evaluation prompts. [default: 200]",
        ),
    ] = None,
    seeds: Annotated[
        str,
        typer.Option(
            "--seeds", rich_help_panel=options.PROMPTS, help="Of the prompts, between commas."
        ),
    ] = "0",
    model: Annotated[
        list[str] | None,
        typer.Option(
            "--model",
            autocompletion=complete_models,
            rich_help_panel=options.MODEL,
            help="Folder, GGUF file, shipped model or hub name. [default: the model shipped for "
            "each task]",
        ),
    ] = None,
    loading: options.LoadingOptions = options.AS_RECORDED,
    algorithm: Annotated[
        list[str] | None,
        typer.Option(
            "--algorithm",
            autocompletion=complete_algorithms,
            rich_help_panel=options.SEARCH,
            help="See `circuitgraph list algorithms`. [default: acdc]",
        ),
    ] = None,
    thresholds: Annotated[
        str | None,
        typer.Option(
            "--thresholds",
            rich_help_panel=options.SEARCH,
            help="Between commas, for the algorithms that have a threshold.",
        ),
    ] = None,
    sizes: Annotated[
        str | None,
        typer.Option(
            "--sizes",
            rich_help_panel=options.SEARCH,
            help="Numbers of edges between commas, for the algorithms that take one.",
        ),
    ] = None,
    assignments: options.SetOption = None,
    metric: Annotated[
        list[str] | None,
        typer.Option(
            "--metric",
            autocompletion=complete_metrics,
            rich_help_panel=options.MEASURE,
            help="See `circuitgraph list metrics`. [default: each task's]",
        ),
    ] = None,
    ablation: Annotated[
        list[str] | None,
        typer.Option(
            "--ablation",
            autocompletion=complete_ablations,
            rich_help_panel=options.MEASURE,
            help="What an absent edge carries. [default: resample]",
        ),
    ] = None,
    out: Annotated[
        Path,
        typer.Option(
            "--out", "-o", help="Folder of the catalog and the table; a sweep goes on where it was."
        ),
    ] = Path("runs/sweep"),
    workers: WorkersOption = 1,
    scheduler: SchedulerOption = None,
    memory: options.MemoryOption = None,
    config: options.ConfigOption = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only list the cells, and refuse those without sense.")
    ] = False,
    as_json: options.JsonOption = False,
    quiet: options.QuietOption = False,
) -> None:
    """Find and judge a circuit for every task in every model by every algorithm with every setting.

    The folder is a catalog (`circuitgraph catalog list FOLDER`) with a table of all its circuits in
    sweep.csv and sweep.json. Given again, the command goes on where it was stopped: circuits that
    are there are not searched again. Exits 1 if a cell failed; the others are done all the same.

    Examples:

    - `circuitgraph sweep --task induction --algorithm acdc --thresholds 0.01,0.1,1 --seeds 0,1`

    - `circuitgraph sweep --task ioi --algorithm eap-ig-inputs --algorithm eap --sizes 20,50`

    - `circuitgraph sweep --config sweep.toml --workers 4`

    - `circuitgraph sweep --config sweep.toml --scheduler tcp://10.0.0.1:8786`
    """
    from circuitgraph.jobs.executors import check_place
    from circuitgraph.jobs.grid import SearchGrid

    del config  # it was read by its option's callback
    output, memory_limit = Output(as_json, quiet), convert_to_bytes(memory)
    grid = SearchGrid(
        tasks=task or (),
        models=model or (),
        algorithms=algorithm or ("acdc",),
        thresholds=read_numbers(thresholds, "--thresholds", float),
        sizes=read_numbers(sizes, "--sizes", int),
        seeds=read_numbers(seeds, "--seeds", int),
        metrics=metric or (),
        ablations=ablation or ("resample",),
        settings=gather_settings({}, assignments or []),
        n_prompts=limit,
        n_evaluation=judging_limit,
        loading=loading.keywords,
    )
    questions = grid.list_cells()
    check_place(workers, scheduler)
    if dry_run:
        _list_plan(output, out, questions)
        return
    keep_compiled_programs()
    try:
        cells = _run_cells(output, out, questions, workers, scheduler, memory_limit)
    except KeyboardInterrupt as error:
        error.add_note(
            f"Circuits found so far are kept in {str(out)!r}, and journals of those begun. To go "
            f"on: {repeat_command()}"
        )
        raise
    _report_cells(output, out, cells)


def _run_cells(
    output: Output,
    out: Path,
    questions: list[SweepQuestion],
    workers: int,
    scheduler: str | None,
    memory: int | None,
) -> list[SweepCell]:
    """The cells, in the order of the questions."""
    from circuitgraph.jobs.executors import open_executor
    from circuitgraph.jobs.sweep_grid import measure_sweep, prepare_folder

    place = prepare_folder(out)
    with open_executor(workers, scheduler, place) as executor:
        done = measure_sweep(place, questions, executor, memory=memory, bar=output.shows_bars)
        by_entry = {cell.question.entry: cell for cell in done}
    return [by_entry[question.entry] for question in questions]


def _report_cells(output: Output, out: Path, cells: list[SweepCell]) -> None:
    """Print the table and what failed; the exit status says whether something did."""
    failures = list_failures(cells)
    if len(failures) == len(cells):
        raise ArgumentError(list_problems("No cell could be done:", failures, several_lines=True))
    records = [cell.model_dump(mode="json") for cell in cells]
    output.print_result(json.dumps(records, indent=2), make_sweep_table(cells))
    if failures:
        output.print_message(list_problems(f"{len(failures)} failed:", failures))
    output.print_message(f"Written to {str(out)!r}: circuitgraph catalog list --catalog {out}")
    if failures:
        raise typer.Exit(1)


def _list_plan(output: Output, out: Path, questions: list[SweepQuestion]) -> None:
    """Print the cells, and which of them the folder holds already."""
    from circuitgraph.jobs.sweep_grid import read_finished

    finished = {q.entry: read_finished(out, q) is not None for q in questions}
    plan = {str(entry): "done" if done else "to do" for entry, done in finished.items()}
    cells = [
        {"question": q.model_dump(mode="json"), "entry": str(q.entry), "state": plan[str(q.entry)]}
        for q in questions
    ]
    output.print_result(json.dumps(cells, indent=2), make_plan_table(plan))
