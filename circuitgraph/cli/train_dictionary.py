"""``circuitgraph train-sae`` and ``train-transcoder``: dictionaries of one's own."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from circuitgraph.catalog.folders import check_new_folder
from circuitgraph.cli import options
from circuitgraph.cli.completion import complete_tasks
from circuitgraph.cli.dictionary_report import make_splice_table
from circuitgraph.cli.inputs import (
    choose_setup,
    gather_task_settings,
    keep_compiled_programs,
    load_alone,
    open_setup,
)
from circuitgraph.cli.options import check_counts
from circuitgraph.cli.output import Output
from circuitgraph.errors import ArgumentError, OutputError, check_between

if TYPE_CHECKING:
    from circuitgraph.catalog.dictionary_record import TrainingRecord
    from circuitgraph.models.dictionaries.hooks import Hook
    from circuitgraph.models.dictionaries.training import TrainingSettings

OutOption = Annotated[Path, typer.Option("--out", "-o", help="Folder of the dictionary.")]


@dataclass(frozen=True)
class TrainingOptions:
    """How both commands train: one option for each field."""

    features: Annotated[int, typer.Option("--features", help="Number of features.")] = 1024
    k: Annotated[int, typer.Option("--k", help="Active features of a token, on average.")] = 16
    steps: Annotated[int, typer.Option("--steps", help="Steps of the training.")] = 2000
    batch: Annotated[int, typer.Option("--batch", help="Tokens of one step.")] = 1024
    learning_rate: Annotated[
        float, typer.Option("--learning-rate", help="Adam's, at its highest.")
    ] = 3e-3
    dead_after: Annotated[
        int,
        typer.Option(
            "--dead-after", help="Tokens without being on after which a feature is trained as dead."
        ),
    ] = 50_000
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the training that the folder holds.")
    ] = False


@dataclass(frozen=True)
class SourceOptions:
    """What both commands train on: one option for each field."""

    task: Annotated[
        str | None,
        typer.Option(
            "--task",
            autocompletion=complete_tasks,
            help="Its prompts are trained on, half of them kept apart.",
        ),
    ] = None
    data: options.DataOption = None
    tokens: Annotated[
        Path | None,
        typer.Option(
            "--tokens",
            help="File of text (.txt), of JSON lines with texts or token ids (.jsonl), or of an "
            "array of ids (.npy, .safetensors). Instead of a task.",
        ),
    ] = None
    context: Annotated[
        int | None,
        typer.Option(
            "--context",
            help="Tokens of one sequence of --tokens. [default: 128, or what the model has]",
        ),
    ] = None
    bos: options.BosOption = None
    limit: Annotated[
        int | None,
        typer.Option(
            "--limit",
            help="How many prompts or sequences to train on. [default: 2000, or all of a file]",
        ),
    ] = None
    seed: options.SeedOption = 0


_AS_USUAL, _NOTHING_GIVEN = TrainingOptions(), SourceOptions()
_MOST_LAYERS = 10_000


@options.expand_options
def train_sae(
    hook: Annotated[
        str, typer.Option("--hook", help="What to take apart, such as blocks.3.hook_mlp_out.")
    ],
    out: OutOption,
    training: TrainingOptions = _AS_USUAL,
    model: options.ModelOption = None,
    loading: options.LoadingOptions = options.AS_RECORDED,
    source: SourceOptions = _NOTHING_GIVEN,
    as_json: options.JsonOption = False,
    quiet: options.QuietOption = False,
) -> None:
    """Train a sparse autoencoder on what a model computes on a task's prompts.

    It is saved in SAELens' layout, as JumpReLU with one threshold, with its quality on unseen
    prompts beside it. The same settings give the same dictionary, whether the training was
    interrupted (--resume) or not.

    Examples:

    * `circuitgraph train-sae --task addition --hook blocks.0.hook_mlp_out -o sae`
    * `circuitgraph train-sae --model gpt2 --tokens text.txt --hook blocks.3.hook_mlp_out -o sae`
    """
    from circuitgraph.models.dictionaries.hooks import parse_hook

    place = parse_hook(hook)
    _train((place, place), out, training, model, loading, source, Output(as_json, quiet))


@options.expand_options
def train_transcoder(
    layer: Annotated[int, typer.Option("--layer", help="The layer of the MLP.")],
    out: OutOption,
    training: TrainingOptions = _AS_USUAL,
    model: options.ModelOption = None,
    loading: options.LoadingOptions = options.AS_RECORDED,
    source: SourceOptions = _NOTHING_GIVEN,
    as_json: options.JsonOption = False,
    quiet: options.QuietOption = False,
) -> None:
    """Train a transcoder: from an MLP's normed input to what the MLP adds to the stream.

    Example: `circuitgraph train-transcoder --task addition --layer 0 -o transcoder`
    """
    from circuitgraph.models.dictionaries.hooks import Hook

    check_between("--layer", layer, 0, _MOST_LAYERS)
    places = Hook("mlp_normed", layer), Hook("mlp_output", layer)
    _train(places, out, training, model, loading, source, Output(as_json, quiet))


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
    out: Path,
    training: TrainingOptions,
    model: str | None,
    loading: options.LoadingOptions,
    source: SourceOptions,
    output: Output,
) -> None:
    """Check everything, load the model and the task, train and report."""
    from circuitgraph.models.dictionaries.training import TrainingSettings

    settings = TrainingSettings(
        training.features,
        training.k,
        training.steps,
        training.batch,
        training.learning_rate,
        training.dead_after,
        source.seed,
    )
    settings.check()
    if not training.resume:
        _check_folder(out)
    check_counts(source.limit, 1, source.seed)
    _check_source(source, model)
    keep_compiled_programs()
    train = _train_on_task if source.tokens is None else _train_on_file
    record = train(places, out, settings, training.resume, model, loading, source, output)
    summary = (
        f"Trained on {record.n_tokens:,} tokens in {record.seconds:.0f} s; "
        f"{record.unexplained:.1%} of the variance is left. Saved in {out}."
    )
    table = make_splice_table(record.task.name, record.model.name, record.splice)
    output.print_result(record.model_dump_json(indent=2), summary, "", table)


def _check_source(source: SourceOptions, model: str | None) -> None:
    """Refuse what does not go together."""
    if source.tokens is None:
        if source.context is not None:
            raise ArgumentError("--context is about a file of --tokens: leave it out.")
    elif source.task is not None or source.data is not None:
        raise ArgumentError("--tokens stands instead of --task and --data: give one of them.")
    elif model is None:
        raise ArgumentError("--tokens says nothing of a model: give --model.")


def _train_on_task(
    places: tuple[Hook, Hook],
    out: Path,
    settings: TrainingSettings,
    resume: bool,
    model: str | None,
    loading: options.LoadingOptions,
    source: SourceOptions,
    output: Output,
) -> TrainingRecord:
    from circuitgraph.jobs.train_dictionary import train_dictionary

    setup = choose_setup(
        model,
        source.task,
        source.data,
        seed=source.seed,
        task_settings=gather_task_settings([], source.bos, None),
        loading=loading.keywords,
    )
    bench = open_setup(output, setup)
    return train_dictionary(
        bench.model,
        bench.task,
        *places,
        settings,
        out,
        n_prompts=source.limit,
        resume=resume,
        bar=output.shows_bars,
    )


def _train_on_file(
    places: tuple[Hook, Hook],
    out: Path,
    settings: TrainingSettings,
    resume: bool,
    model: str | None,
    loading: options.LoadingOptions,
    source: SourceOptions,
    output: Output,
) -> TrainingRecord:
    from circuitgraph.jobs.train_dictionary import train_dictionary_on_file
    from circuitgraph.tasks.token_file import open_token_file

    loaded = load_alone(output, str(model), loading.keywords)
    bar = output.shows_bars
    settings_of_file = {"context": source.context, "bos": source.bos, "limit": source.limit}
    file = open_token_file(str(source.tokens), loaded, bar=bar, **settings_of_file)
    return train_dictionary_on_file(loaded, file, *places, settings, out, resume=resume, bar=bar)
