"""``circuitgraph leaderboard``: every algorithm on every known model, in one table."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from circuitgraph.catalog.folders import write_file
from circuitgraph.cli import options
from circuitgraph.cli.leaderboard_tables import as_markdown, tables
from circuitgraph.cli.options import check_counts
from circuitgraph.cli.output import Output
from circuitgraph.cli.shared import check_names, keep_compiled_programs

if TYPE_CHECKING:
    from circuitgraph.catalog.leaderboard_record import Cell


def leaderboard(
    task: Annotated[
        list[str] | None, typer.Option("--task", help="Only this task. Repeatable. [default: all]")
    ] = None,
    model: Annotated[
        list[str] | None,
        typer.Option("--model", help="Only this shipped model. Repeatable. [default: all]"),
    ] = None,
    algorithm: Annotated[
        list[str] | None,
        typer.Option("--algorithm", help="Only this algorithm. Repeatable. [default: all]"),
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
    import json

    from circuitgraph.leaderboard import Settings, cases
    from circuitgraph.leaderboard import leaderboard as measured

    output = Output(as_json, quiet)
    check_names(None, ablation)
    check_counts(limit, 1, seed)
    settings = Settings(ablation or "resample", seed, limit, judging_limit, bootstraps)
    chosen = cases(task, model)
    keep_compiled_programs()
    found: list[Cell] = list(measured(out, chosen, algorithm, settings, bar=output.shows_bars))
    if markdown is not None:
        write_file(markdown, as_markdown(found).encode())
    output.result(
        json.dumps([cell.model_dump(mode="json") for cell in found], indent=2), *tables(found)
    )
