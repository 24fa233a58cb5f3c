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
    open_setup,
)
from circuitgraph.cli.options import check_counts
from circuitgraph.cli.output import Output
from circuitgraph.errors import OutputError, check_between

if TYPE_CHECKING:
    from circuitgraph.models.dictionaries.hooks import Hook

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
    bos: options.BosOption = None
    limit: Annotated[
        int | None,
        typer.Option(
            "--limit", help="How many prompts to train on. [default: 2000, or all of a file]"
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

    Example: `circuitgraph train-sae --task addition --hook blocks.0.hook_mlp_out -o sae`
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
    from circuitgraph.jobs.train_dictionary import train_dictionary
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
    setup = choose_setup(
        model,
        source.task,
        source.data,
        seed=source.seed,
        task_settings=gather_task_settings([], source.bos, None),
        loading=loading.keywords,
    )
    keep_compiled_programs()
    bench = open_setup(output, setup)
    record = train_dictionary(
        bench.model,
        bench.task,
        *places,
        settings,
        out,
        n_prompts=source.limit,
        resume=training.resume,
        bar=output.shows_bars,
    )
    summary = (
        f"Trained on {record.n_tokens:,} tokens in {record.seconds:.0f} s; "
        f"{record.unexplained:.1%} of the variance is left. Saved in {out}."
    )
    table = make_splice_table(record.task.name, record.model.name, record.splice)
    output.print_result(record.model_dump_json(indent=2), summary, "", table)
