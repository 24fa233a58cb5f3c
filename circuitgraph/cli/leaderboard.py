"""``circuitgraph leaderboard``: every algorithm on every known model, in one table."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from circuitgraph.catalog.single_files import check_file, write_file
from circuitgraph.cli import options
from circuitgraph.cli.completion import complete_algorithms, complete_models, complete_tasks
from circuitgraph.cli.inputs import check_names, keep_compiled_programs
from circuitgraph.cli.interrupts import repeat_command
from circuitgraph.cli.leaderboard_report import format_markdown, is_markdown, make_tables
from circuitgraph.cli.options import check_counts
from circuitgraph.cli.output import Output
from circuitgraph.cli.worker_options import SchedulerOption, WorkersOption

if TYPE_CHECKING:
    from circuitgraph.catalog.leaderboard_record import Question


@options.expand_options
def leaderboard(
    task: Annotated[
        list[str] | None,
        typer.Option(
            "--task",
            autocompletion=complete_tasks,
            help="Only this task. Repeatable. [default: all]",
        ),
    ] = None,
    model: Annotated[
        list[str] | None,
        typer.Option(
            "--model",
            autocompletion=complete_models,
            help="Only this model; one that is not shipped needs a --task. Repeatable. "
            "[default: all shipped]",
        ),
    ] = None,
    loading: options.LoadingOptions = options.AS_RECORDED,
    algorithm: Annotated[
        list[str] | None,
        typer.Option(
            "--algorithm",
            autocompletion=complete_algorithms,
            help="Only this algorithm. Repeatable. [default: all]",
        ),
    ] = None,
    ablation: options.AblationOption = "resample",
    limit: Annotated[int, typer.Option("--limit", help="Number of discovery prompts.")] = 50,
    judging_limit: Annotated[
        int, typer.Option("--judging-limit", help="Number of evaluation prompts.")
    ] = 100,
    bootstraps: Annotated[
        int,
        typer.Option(
            "--bootstraps", help="Searches on resampled prompts for the stability; 0 leaves it out."
        ),
    ] = 5,
    seed: options.SeedOption = 0,
    out: Annotated[
        Path,
        typer.Option(
            "--out", "-o", help="Folder of the cells, one file each; a run goes on where it ended."
        ),
    ] = Path("runs/leaderboard"),
    markdown: Annotated[
        Path | None, typer.Option("--markdown", help="Write the tables to this file as well.")
    ] = None,
    workers: WorkersOption = 1,
    scheduler: SchedulerOption = None,
    as_json: options.JsonOption = False,
    quiet: options.QuietOption = False,
) -> None:
    """Measure every algorithm on every task in every shipped model that knows it.

    ROC AUC against the true circuit where it is known, CMD and CPR (MIB), size at 95 %
    faithfulness, stability, time. Stopped, it goes on where it was: cells already in the folder are
    not measured again.

    Examples:

    - `circuitgraph leaderboard --task induction --algorithm acdc --algorithm eap --bootstraps 0`

    - `circuitgraph leaderboard --markdown leaderboard.md`
    """
    from circuitgraph.catalog.leaderboard_record import CELLS
    from circuitgraph.discovery.base import algorithms
    from circuitgraph.jobs.executors import check_place, open_executor
    from circuitgraph.jobs.leaderboard import LeaderboardSettings, list_cases, measure_cells

    output = Output(as_json, quiet)
    check_names(None, ablation)
    check_counts(limit, 1, seed)
    settings = LeaderboardSettings(ablation or "resample", seed, limit, judging_limit, bootstraps)
    cases = list_cases(task, model)
    check_place(workers, scheduler)
    # A place that cannot be written is refused before hours of work.
    CELLS.check_folder(out)
    if markdown is not None:
        check_file(markdown, is_own=is_markdown)
    keep_compiled_programs()
    try:
        if scheduler is not None:
            out.mkdir(parents=True, exist_ok=True)  # for its workers to see
        with open_executor(workers, scheduler, out.absolute()) as executor:
            cells = list(
                measure_cells(
                    out,
                    cases,
                    algorithm,
                    settings,
                    bar=output.shows_bars,
                    loading=loading.keywords,
                    executor=executor,
                )
            )
    except KeyboardInterrupt as error:
        error.add_note(
            f"Cells measured so far are kept in {str(out)!r}. To go on: {repeat_command()}"
        )
        raise
    order = [(case.task, case.model) for case in cases], list(algorithm or algorithms.names())
    cells.sort(key=lambda cell: _find_places(cell.question, *order))
    if markdown is not None:
        write_file(markdown, format_markdown(cells).encode(), is_own=is_markdown)
    records = [cell.model_dump(mode="json") for cell in cells]
    output.print_result(json.dumps(records, indent=2), *make_tables(cells))


def _find_places(
    question: Question, cases: list[tuple[str, str]], names: list[str]
) -> tuple[int, int]:
    """Where a cell stands among the tables, and in its table."""
    return cases.index((question.task, question.model)), names.index(question.algorithm)
