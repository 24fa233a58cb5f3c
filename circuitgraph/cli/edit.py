"""``circuitgraph edit``: weights of nodes zeroed, scaled, kept or tuned, and what that did."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

import circuitgraph as cg
from circuitgraph.cli import options
from circuitgraph.cli.completion import complete_tasks
from circuitgraph.cli.edit_report import make_report
from circuitgraph.cli.inputs import (
    check_names,
    choose_setup,
    gather_task_settings,
    keep_compiled_programs,
    open_setup,
)
from circuitgraph.cli.options import check_counts
from circuitgraph.cli.output import Output
from circuitgraph.errors import ArgumentError
from circuitgraph.printable import NAME, shorten_text

if TYPE_CHECKING:
    from circuitgraph.catalog.edit_record import EditRecord, TuningRecord, WeightEditRecord
    from circuitgraph.models.language_model import LanguageModel
    from circuitgraph.tasks.base import Task

_EVERYTHING = "all"


@options.expand_options
def edit_weights(
    model: options.ModelOption = None,
    loading: options.LoadingOptions = options.AS_RECORDED,
    task: Annotated[
        str | None,
        typer.Option(
            "--task", autocompletion=complete_tasks, help="What is measured, and tuned on."
        ),
    ] = None,
    data: options.DataOption = None,
    other_task: Annotated[
        list[str] | None,
        typer.Option(
            "--other-task",
            metavar="TASK",
            help="Another task to measure, or a file of pairs; may be given several times.",
        ),
    ] = None,
    zero: Annotated[
        list[str] | None,
        typer.Option("--zero", metavar="NODES", help="Have nodes write nothing: a1.h2,m0.n3,m1."),
    ] = None,
    scale: Annotated[
        list[str] | None,
        typer.Option("--scale", metavar="NODES=X", help="Multiply what nodes write: a1.h2=0.5."),
    ] = None,
    keep_only: Annotated[
        str | None,
        typer.Option(
            "--keep-only",
            metavar="NODES",
            help="Zero all other nodes of the kinds named (heads, neurons, MLPs), in all layers.",
        ),
    ] = None,
    keep_share: Annotated[
        float | None,
        typer.Option(
            "--keep-share",
            metavar="SHARE",
            help="Zero all neurons but this share: those that matter most to the task. As many "
            "random ones are measured beside.",
        ),
    ] = None,
    tune: Annotated[
        list[str] | None,
        typer.Option(
            "--tune",
            metavar="NODES",
            help="Fine-tune the parameters of these nodes on the task; all: every parameter.",
        ),
    ] = None,
    lora: Annotated[
        int | None,
        typer.Option(
            "--lora",
            metavar="LAYER",
            help="Fine-tune changes of low rank to the layer's queries and values instead.",
        ),
    ] = None,
    rank: Annotated[int | None, typer.Option("--rank", help="Of --lora. [default: 8]")] = None,
    steps: Annotated[
        int | None, typer.Option("--steps", help="Steps of --tune or --lora. [default: 100]")
    ] = None,
    learning_rate: Annotated[
        float | None, typer.Option("--learning-rate", help="Of the steps. [default: 0.0001]")
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option("--batch-size", help="Prompts of a step. [default: 16]")
    ] = None,
    metric: options.MetricOption = None,
    bos: options.BosOption = None,
    limit: Annotated[
        int | None,
        typer.Option("--limit", help="Prompts to measure. [default: 200, or all of a file]"),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="New folder for the model, as transformers loads it."),
    ] = None,
    seed: options.SeedOption = 0,
    as_json: options.JsonOption = False,
    quiet: options.QuietOption = False,
) -> None:
    """Zero, scale, keep or tune the weights of heads, MLPs and neurons; write the edited model.

    What is measured before and after is on prompts for judging; tuning sees those for searches.
    First --keep-only is done, then --zero, --scale, --tune.

    Examples:

    - `circuitgraph edit --task addition --zero m1.n38,a1.h0 --out ./without`

    - `circuitgraph edit --task addition --zero m1 --tune a1.h0,a1.h1 --steps 200`

    - `circuitgraph edit --task addition --zero m1 --lora 1 --rank 4`

    - `circuitgraph edit --task addition --keep-share 0.5 --metric accuracy`
    """
    output = Output(as_json, quiet)
    check_counts(limit, 2, seed)
    check_names(metric, None)
    edits = _read_edits(keep_only, zero, scale)
    if not edits and not tune and lora is None and keep_share is None:
        raise ArgumentError(
            "Nothing is edited: give --zero, --scale, --keep-only, --keep-share, --tune or --lora."
        )
    _check_keep_share(keep_share, edits, tune, lora)
    tuning_settings = _read_tuning(tune, lora, rank, steps, learning_rate, batch_size)
    settings = gather_task_settings([], bos, None)
    setup = choose_setup(
        model, task, data, seed=seed, task_settings=settings, loading=loading.keywords
    )
    if out is not None:
        from circuitgraph.catalog.folders import check_new_folder

        check_new_folder(out)
    keep_compiled_programs()
    bench = open_setup(output, setup)
    loaded, own_task = bench.model, bench.task
    others = [cg.load_task(name, loaded, seed=seed) for name in other_task or ()]
    beside = None
    if keep_share is not None:
        edits, beside = _choose_share(output, loaded, own_task, keep_share)
    edited, tuning = _apply_edits(loaded, edits), None
    if tuning_settings is not None:
        result = cg.fine_tune(edited, own_task, **tuning_settings, bar=output.shows_bars)
        edited, tuning = result.model, result.record
    with output.show_spinner("measuring"):
        record = _make_record(
            loaded, edited, beside, edits, tuning, [own_task, *others], metric, limit, out
        )
    output.print_result(record.model_dump_json(indent=2), *make_report(record))


def _read_tuning(
    tune: Sequence[str] | None,
    lora: int | None,
    rank: int | None,
    steps: int | None,
    learning_rate: float | None,
    batch_size: int | None,
) -> dict[str, Any] | None:
    """Keywords of `circuitgraph.fine_tune` that were given, checked; None if nothing is tuned."""
    from circuitgraph.jobs.fine_tune import check_lora, check_numbers

    if tune and lora is not None:
        raise ArgumentError(f"--tune {tune[0]} and --lora {lora} were given: give one of them.")
    numbers = {"steps": steps, "learning_rate": learning_rate, "batch_size": batch_size}
    settings: dict[str, Any] = {k: value for k, value in numbers.items() if value is not None}
    if not tune and lora is None:
        for name, value in ({"rank": rank} | settings).items():
            if value is not None:
                raise ArgumentError(
                    f"--{name.replace('_', '-')} is {value}, but nothing is tuned: name nodes with "
                    "--tune, or a layer with --lora."
                )
        return None
    check_numbers(**settings)
    check_lora(lora, rank)
    nodes = None if not tune else _split_names("--tune", ",".join(tune))
    nodes = None if nodes == [_EVERYTHING] else nodes
    return {"nodes": nodes, "lora": lora, "rank": rank, **settings}


def _make_record(
    model: LanguageModel,
    edited: LanguageModel,
    beside: LanguageModel | None,
    edits: Sequence[WeightEditRecord],
    tuning: TuningRecord | None,
    tasks: Sequence[Task],
    metric: str | None,
    limit: int | None,
    out: Path | None,
) -> EditRecord:
    """Measure, write the model if it is asked for, and say all of it."""
    from circuitgraph.catalog.edit_record import EditRecord
    from circuitgraph.jobs.edit import compare_models
    from circuitgraph.tasks.describing import describe_environment, describe_model

    changes, random = (
        own and compare_models(model, own, tasks, metric=metric, n_prompts=limit)
        for own in (edited, beside)
    )
    tensors = [] if out is None else cg.save_model(edited, out)
    return EditRecord(
        model=describe_model(model),
        edited=describe_model(edited),
        environment=describe_environment(model),
        edits=list(edits),
        tuning=tuning,
        tasks=changes or [],
        random=random,
        folder=None if out is None else str(out),
        tensors=tensors,
    )


def _check_keep_share(
    share: float | None,
    edits: Sequence[WeightEditRecord],
    tune: Sequence[str] | None,
    lora: int | None,
) -> None:
    if share is None:
        return
    from circuitgraph.jobs.edit import check_share

    check_share(share)
    if edits or tune or lora is not None:
        raise ArgumentError(
            f"--keep-share {share:g} is measured beside random neurons and is done alone: write "
            "the model with --out, and edit that."
        )


def _choose_share(
    output: Output, model: LanguageModel, task: Task, share: float
) -> tuple[list[WeightEditRecord], LanguageModel]:
    """The edit that keeps the share, and the model in which as many random neurons are kept."""
    from circuitgraph.catalog.edit_record import WeightEditRecord
    from circuitgraph.jobs.edit import choose_neurons, draw_neurons

    with output.show_spinner("ranking neurons"):
        kept = choose_neurons(model, task, share)
    drawn = draw_neurons(model.spec, len(kept), task.seed)
    beside = cg.edit_weights(model, drawn, keep_only=True)
    return [WeightEditRecord(nodes=kept, scale=0.0, keep_only=True)], beside


def _read_edits(
    keep_only: str | None, zero: Sequence[str] | None, scale: Sequence[str] | None
) -> list[WeightEditRecord]:
    """The edits of output weights, in the order in which they are done."""
    from circuitgraph.catalog.edit_record import WeightEditRecord

    edits = []
    if keep_only is not None:
        nodes = _split_names("--keep-only", keep_only)
        edits.append(WeightEditRecord(nodes=nodes, scale=0.0, keep_only=True))
    if zero:
        nodes = _split_names("--zero", ",".join(zero))
        edits.append(WeightEditRecord(nodes=nodes, scale=0.0, keep_only=False))
    for text in scale or ():
        names, _, number = text.rpartition("=")
        try:
            factor = float(number)
        except ValueError as error:
            raise ArgumentError(
                f"--scale {shorten_text(text, NAME)!r} cannot be read: expected NODES=NUMBER, such "
                "as --scale a1.h2=0.5."
            ) from error
        nodes = _split_names("--scale", names)
        edits.append(WeightEditRecord(nodes=nodes, scale=factor, keep_only=False))
    return edits


def _split_names(option: str, text: str) -> list[str]:
    """The names between commas."""
    names = [name.strip() for name in text.split(",")]
    if not all(names):
        raise ArgumentError(
            f"{option} {shorten_text(text, NAME)!r} has an empty name: give nodes between commas, "
            "such as a1.h2,m0.n3."
        )
    return names


def _apply_edits(model: LanguageModel, edits: Sequence[WeightEditRecord]) -> LanguageModel:
    for edit in edits:
        model = cg.edit_weights(model, edit.nodes, scale=edit.scale, keep_only=edit.keep_only)
    return model
