"""``circuitgraph analyze``: what single nodes do, by one of the methods of the literature."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

import circuitgraph as cg
from circuitgraph.cli import options
from circuitgraph.cli.completion import complete_analyses, complete_tasks
from circuitgraph.cli.config_file import prefer_typed_prompts
from circuitgraph.cli.inputs import (
    check_split,
    choose_setup,
    gather_task_settings,
    keep_compiled_programs,
    load_alone,
    open_setup,
)
from circuitgraph.cli.options import check_counts
from circuitgraph.cli.output import Output
from circuitgraph.cli.settings import gather_settings
from circuitgraph.errors import ArgumentError


@options.expand_options
def analyze(
    method: Annotated[
        str,
        typer.Argument(autocompletion=complete_analyses, help="See `circuitgraph list analyses`."),
    ],
    model: options.ModelOption = None,
    loading: options.LoadingOptions = options.AS_RECORDED,
    task: Annotated[
        str | None,
        typer.Option(
            "--task",
            callback=prefer_typed_prompts,
            autocompletion=complete_tasks,
            help="See `circuitgraph list tasks`.",
        ),
    ] = None,
    data: options.DataOption = None,
    task_assignments: options.TaskSetOption = None,
    assignments: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="NAME=VALUE",
            help="Any setting of the method; see `circuitgraph list analyses`.",
        ),
    ] = None,
    bos: options.BosOption = None,
    chat: options.ChatOption = None,
    split: options.SplitOption = "evaluation",
    limit: Annotated[
        int | None, typer.Option("--limit", help="Number of prompts. [default: 32]")
    ] = None,
    seed: options.SeedOption = 0,
    picture: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            help="Draw it: .svg, .pdf or .png (extra: plots), or .html: tables and texts.",
        ),
    ] = None,
    config: options.ConfigOption = None,
    as_json: options.JsonOption = False,
    quiet: options.QuietOption = False,
) -> None:
    """Say what single heads, neurons and layers do, by a method of the literature.

    Examples:

    - `circuitgraph analyze logit-lens --task induction`

    - `circuitgraph analyze logit-lens --model gpt2 --data pairs.jsonl --set top=5 -o lens.svg`

    - `circuitgraph analyze units --task addition --set units=m1.n30,m1.n38 -o units.html`
    """
    del config  # read by its callback
    from circuitgraph.analysis.base import analyses
    from circuitgraph.cli.analyze_report import check_picture, make_report, write_picture

    chosen = analyses[method]
    settings = gather_settings({}, assignments or [])
    chosen.fill_settings(settings)
    prompt_split = check_split(split)
    check_counts(limit, 1, seed)
    if picture is not None:
        check_picture(picture)
    task_settings = gather_task_settings(task_assignments or [], bos, chat)
    setup = None
    if chosen.needs_prompts or task is not None or data is not None:
        setup = choose_setup(
            model, task, data, seed=seed, task_settings=task_settings, loading=loading.keywords
        )
    elif model is None:
        raise ArgumentError(f"The analysis {method!r} looks at weights: name a model with --model.")
    keep_compiled_programs()
    output = Output(as_json, quiet)
    if setup is None:
        loaded_model, loaded_task = load_alone(output, model or "", loading.keywords), None
    else:
        bench = open_setup(output, setup)
        loaded_model, loaded_task = bench.model, bench.task
    record = cg.analyze(
        loaded_model,
        loaded_task,
        method,
        n_prompts=limit,
        split=prompt_split,
        bar=output.shows_bars,
        **settings,
    )
    is_written = picture is None or write_picture(record, picture)
    output.print_result(record.model_dump_json(indent=2), *make_report(record))
    if not is_written:
        output.print_message(
            f"The analysis {method!r} has no picture of that kind: {picture} was not written; "
            ".html shows tables and texts."
        )
        raise typer.Exit(1)
