"""``circuitgraph steer``: what a model says when hidden neurons or features have other values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

import circuitgraph as cg
from circuitgraph.cli import options, unit_options
from circuitgraph.cli.completion import complete_tasks
from circuitgraph.cli.inputs import (
    check_names,
    choose_setup,
    gather_task_settings,
    keep_compiled_programs,
    open_setup,
)
from circuitgraph.cli.options import check_counts
from circuitgraph.cli.output import Output
from circuitgraph.cli.steer_report import make_report
from circuitgraph.errors import ArgumentError

if TYPE_CHECKING:
    from circuitgraph.analysis.interventions import InterventionKind
    from circuitgraph.tasks.base import Task


@options.expand_options
def steer_units(
    model: options.ModelOption = None,
    loading: options.LoadingOptions = options.AS_RECORDED,
    task: Annotated[
        str | None,
        typer.Option("--task", autocompletion=complete_tasks, help="Prompts of a task."),
    ] = None,
    data: options.DataOption = None,
    prompt: Annotated[
        list[str] | None,
        typer.Option("--prompt", help="A text, instead of a task; may be given several times."),
    ] = None,
    set_to: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="UNIT=X", help="Set a unit to a value: m3.n117=5."),
    ] = None,
    scale: Annotated[
        list[str] | None,
        typer.Option("--scale", metavar="UNIT=X", help="Multiply a unit's value: m3.n117=2."),
    ] = None,
    add: Annotated[
        list[str] | None,
        typer.Option("--add", metavar="UNIT=X", help="Add so many times the unit's row: m3.f20=4."),
    ] = None,
    ablate: Annotated[
        list[str] | None,
        typer.Option(
            "--ablate",
            metavar="UNIT",
            help="Set a unit to 0, or with m3.n7=mean to its mean over the prompts' tokens.",
        ),
    ] = None,
    dictionary: options.DictionariesOption = None,
    metric: options.MetricOption = None,
    bos: options.BosOption = None,
    limit: Annotated[
        int | None,
        typer.Option("--limit", help="How many prompts. [default: 200, or all of a file]"),
    ] = None,
    top: Annotated[int, typer.Option("--top", help="How many likeliest tokens to list.")] = 5,
    new: Annotated[
        int, typer.Option("--continue", help="Go on by so many tokens, the likeliest ones.")
    ] = 0,
    seed: options.SeedOption = 0,
    as_json: options.JsonOption = False,
    quiet: options.QuietOption = False,
) -> None:
    """Set, scale, ablate or add to hidden neurons and dictionary features, all at once.

    Units are m3.n117 (neuron 117 of the MLP of layer 3) and m3.f20 (feature 20 of the dictionary
    that reads in layer 3), at all positions, or at roles: m3.n117@end. Several values between
    commas make several runs.

    Examples:

    - `circuitgraph steer --task addition --ablate m1.n30 --scale m1.n38@end=0,2`

    - `circuitgraph steer --model gpt2 --prompt "The sky is" --set m3.n117=5 --continue 8`

    - `circuitgraph steer --model gpt2 --prompt "The sky is" --add m8.f20=4 --dictionary ./sae`
    """
    from circuitgraph.analysis.unit_choice import open_named_dictionaries

    output = Output(as_json, quiet)
    check_counts(limit, 1, seed)
    check_names(metric, None)
    assignments: dict[InterventionKind, Sequence[str] | None] = {
        "set": set_to, "scale": scale, "add": add, "ablate": ablate
    }  # fmt: skip
    interventions = [
        unit_options.read_intervention(kind, text)
        for kind, texts in assignments.items()
        for text in texts or ()
    ]
    if not interventions:
        raise ArgumentError("Nothing is done to any unit: give --set, --scale, --add or --ablate.")
    settings = gather_task_settings([], bos, None)
    if not prompt and task is None and data is None:
        raise ArgumentError("There are no prompts: give --task, --data or --prompt.")
    if prompt:
        if task is not None or data is not None or limit is not None or settings:
            raise ArgumentError(
                "--prompt is given instead of --task and --data, --limit and --bos: leave them out."
            )
        if model is None:
            raise ArgumentError("--prompt needs --model: a folder, a shipped model or a hub name.")
        setup = None
    else:
        setup = choose_setup(
            model, task, data, seed=seed, task_settings=settings, loading=loading.keywords
        )
    nodes = [one.site.node for one in interventions]
    with output.show_spinner("reading the dictionary"):
        stored = open_named_dictionaries(dictionary or (), nodes, local_only=loading.local_only)
    keep_compiled_programs()
    prompts: Task | Sequence[str]
    if setup is None:
        with output.show_spinner("loading the model"):
            loaded, prompts = cg.load_model(model or "", **loading.keywords), prompt or []
    else:
        bench = open_setup(output, setup)
        loaded, prompts = bench.model, bench.task
    with output.show_spinner("running the model"):
        record = cg.steer(
            loaded, prompts, interventions, dictionaries=stored, metric=metric, n_prompts=limit,
            n_top=top, n_new=new,
        ).record  # fmt: skip
    output.print_result(record.model_dump_json(indent=2), *make_report(record))
