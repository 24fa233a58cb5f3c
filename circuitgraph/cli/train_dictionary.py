"""``circuitgraph train-sae`` and ``train-transcoder``: dictionaries of one's own."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from circuitgraph.catalog.folders import check_new_folder
from circuitgraph.cli import options
from circuitgraph.cli.dictionary_report import make_splice_table
from circuitgraph.cli.inputs import (
    check_task,
    choose_model,
    gather_task_settings,
    keep_compiled_programs,
    load_inputs,
)
from circuitgraph.cli.options import check_counts
from circuitgraph.cli.output import Output
from circuitgraph.errors import OutputError, check_between

if TYPE_CHECKING:
    from circuitgraph.models.dictionaries.hooks import Hook
    from circuitgraph.models.dictionaries.training import TrainingSettings

FeaturesOption = Annotated[int, typer.Option("--features", help="Number of features.")]
ActiveOption = Annotated[int, typer.Option("--k", help="Active features of a token, on average.")]
StepsOption = Annotated[int, typer.Option("--steps", help="Steps of the training.")]
BatchOption = Annotated[int, typer.Option("--batch", help="Tokens of one step.")]
RateOption = Annotated[float, typer.Option("--learning-rate", help="Adam's, at its highest.")]
DeadOption = Annotated[
    int,
    typer.Option(
        "--dead-after", help="Tokens without being on after which a feature is trained as dead."
    ),
]
OutOption = Annotated[Path, typer.Option("--out", "-o", help="Folder of the dictionary.")]
ResumeOption = Annotated[
    bool, typer.Option("--resume", help="Go on with the training that the folder holds.")
]
TaskOption = Annotated[
    str | None, typer.Option("--task", help="Its prompts are trained on, half of them kept apart.")
]
LimitOption = Annotated[
    int | None,
    typer.Option("--limit", help="How many prompts to train on. [default: 2000, or all of a file]"),
]


_MOST_LAYERS = 10_000


@options.expand_loading
def train_sae(
    hook: Annotated[
        str, typer.Option("--hook", help="What to take apart, such as blocks.3.hook_mlp_out.")
    ],
    out: OutOption,
    features: FeaturesOption = 1024,
    k: ActiveOption = 16,
    steps: StepsOption = 2000,
    batch: BatchOption = 1024,
    learning_rate: RateOption = 3e-3,
    dead_after: DeadOption = 50_000,
    resume: ResumeOption = False,
    model: options.ModelOption = None,
    loading: options.LoadingOptions = options.AS_RECORDED,
    task: TaskOption = None,
    data: options.DataOption = None,
    bos: options.BosOption = None,
    limit: LimitOption = None,
    seed: options.SeedOption = 0,
    as_json: options.JsonOption = False,
    quiet: options.QuietOption = False,
) -> None:
    """Train a sparse autoencoder on what a model computes on a task's prompts.

    It is saved in SAELens' layout, as JumpReLU with one threshold, with its quality on unseen
    prompts beside it. The same settings give the same dictionary, whether the training was
    interrupted (--resume) or not.

    Example: `circuitgraph train-sae --task addition --hook blocks.0.hook_mlp_out -o sae`
    """
    from circuitgraph.models.dictionaries.hooks import parse_hook
    from circuitgraph.models.dictionaries.training import TrainingSettings

    place = parse_hook(hook)
    settings = TrainingSettings(features, k, steps, batch, learning_rate, dead_after, seed)
    source = (model, task, data, bos, limit)
    _train((place, place), settings, source, loading, out, resume, Output(as_json, quiet))


@options.expand_loading
def train_transcoder(
    layer: Annotated[int, typer.Option("--layer", help="The layer of the MLP.")],
    out: OutOption,
    features: FeaturesOption = 1024,
    k: ActiveOption = 16,
    steps: StepsOption = 2000,
    batch: BatchOption = 1024,
    learning_rate: RateOption = 3e-3,
    dead_after: DeadOption = 50_000,
    resume: ResumeOption = False,
    model: options.ModelOption = None,
    loading: options.LoadingOptions = options.AS_RECORDED,
    task: TaskOption = None,
    data: options.DataOption = None,
    bos: options.BosOption = None,
    limit: LimitOption = None,
    seed: options.SeedOption = 0,
    as_json: options.JsonOption = False,
    quiet: options.QuietOption = False,
) -> None:
    """Train a transcoder: from an MLP's normed input to what the MLP adds to the stream.

    Example: `circuitgraph train-transcoder --task addition --layer 0 -o transcoder`
    """
    from circuitgraph.models.dictionaries.hooks import Hook
    from circuitgraph.models.dictionaries.training import TrainingSettings

    check_between("--layer", layer, 0, _MOST_LAYERS)
    places = Hook("mlp_normed", layer), Hook("mlp_output", layer)
    settings = TrainingSettings(features, k, steps, batch, learning_rate, dead_after, seed)
    source = (model, task, data, bos, limit)
    _train(places, settings, source, loading, out, resume, Output(as_json, quiet))


def _check_folder(out: Path) -> None:
    """Refuse a folder that holds something, or cannot be made."""
    if not os.path.lexists(out):
        check_new_folder(out)
    elif not out.is_dir() or any(out.iterdir()):
        raise OutputError(
            f"{str(out)!r} exists already. Choose another --out, or add --resume to go on with the "
            "training that was begun there."
        )


def _train(
    places: tuple[Hook, Hook],
    settings: TrainingSettings,
    source: tuple[str | None, str | None, Path | None, str | None, int | None],
    loading: options.LoadingOptions,
    out: Path,
    resume: bool,
    output: Output,
) -> None:
    """Check everything, load the model and the task, train and report."""
    from circuitgraph.dictionary_training import train_dictionary

    settings.check()
    if not resume:
        _check_folder(out)
    model, task, data, bos, limit = source
    check_counts(limit, 1, settings.seed)
    name, arguments = choose_model(model, task, data), gather_task_settings([], bos, None)
    check_task(task, arguments)
    keep_compiled_programs()
    loaded = load_inputs(output, name, task, data, settings.seed, arguments, loading.keywords)
    record = train_dictionary(
        *loaded,
        *places,
        settings,
        out,
        n_prompts=limit,
        resume=resume,
        bar=output.shows_bars,
    )
    summary = (
        f"Trained on {record.n_tokens:,} tokens in {record.seconds:.0f} s; "
        f"{record.unexplained:.1%} of the variance is left. Saved in {out}."
    )
    table = make_splice_table(record.task.name, record.model.name, record.splice)
    output.print_result(record.model_dump_json(indent=2), summary, "", table)
