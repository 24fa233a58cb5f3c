"""``circuitgraph dictionary``: what a dictionary is, and how good it is in a model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

import circuitgraph as cg
from circuitgraph.cli import options
from circuitgraph.cli.completion import complete_tasks
from circuitgraph.cli.dictionary_report import make_report
from circuitgraph.cli.inputs import (
    choose_setup,
    gather_task_settings,
    keep_compiled_programs,
    open_setup,
)
from circuitgraph.cli.options import check_counts
from circuitgraph.cli.output import Output
from circuitgraph.errors import ArgumentError

if TYPE_CHECKING:
    from circuitgraph.catalog.dictionary_record import DictionariesRecord
    from circuitgraph.models.dictionaries.stored_dictionary import StoredDictionary
    from circuitgraph.models.language_model import LanguageModel
    from circuitgraph.tasks.base import Task


@options.expand_options
def show_dictionary(
    dictionary: Annotated[
        str,
        typer.Argument(
            help="Folder, file of weights, or place on the hub (owner/repository/folder).",
            show_default=False,
        ),
    ],
    layer: Annotated[
        int | None, typer.Option("--layer", help="Which one, of several. [default: all]")
    ] = None,
    hook: Annotated[
        str | None, typer.Option("--hook", help="Where it reads, if its files do not say.")
    ] = None,
    hook_out: Annotated[
        str | None, typer.Option("--hook-out", help="Where a transcoder writes, likewise.")
    ] = None,
    k: Annotated[
        int | None, typer.Option("--k", help="Number of active features, likewise.")
    ] = None,
    input_scale: Annotated[
        float | None,
        typer.Option(
            "--input-scale",
            help="sqrt(d) divided by the average length of inputs, where it was trained on inputs "
            "so scaled and its files do not say.",
        ),
    ] = None,
    dictionary_revision: Annotated[
        str | None,
        typer.Option(
            "--dictionary-revision", help="Branch, tag or commit of the dictionary on the hub."
        ),
    ] = None,
    model: options.ModelOption = None,
    loading: options.LoadingOptions = options.AS_RECORDED,
    task: Annotated[
        str | None,
        typer.Option(
            "--task",
            autocompletion=complete_tasks,
            help="Prompts on which its quality is measured.",
        ),
    ] = None,
    data: options.DataOption = None,
    bos: options.BosOption = None,
    limit: Annotated[
        int | None,
        typer.Option("--limit", help="How many prompts. [default: 200, or all of a file]"),
    ] = None,
    seed: options.SeedOption = 0,
    as_json: options.JsonOption = False,
    quiet: options.QuietOption = False,
) -> None:
    """Show what a sparse autoencoder or a transcoder is: layout, size, activation, places.

    With --model it is refused unless it fits the model. With --task or --data its quality there is
    measured: loss recovered, KL, L0, variance explained and dead features, with its reconstruction
    in place of the model's own values. All layers of a set are in place at once.

    Examples:

    - `circuitgraph dictionary ./sae`

    - `circuitgraph dictionary ./sae --model gpt2 --task ioi`

    - `circuitgraph dictionary google/gemma-scope-2b-pt-mlp/layer_3/width_16k/average_l0_22`
    """
    output = Output(as_json, quiet)
    check_counts(limit, 2, seed)
    setup, arguments = None, gather_task_settings([], bos, None)
    if task is not None or data is not None:
        setup = choose_setup(
            model, task, data, seed=seed, task_settings=arguments, loading=loading.keywords
        )
    elif limit is not None or arguments:
        raise ArgumentError("--limit and --bos are about prompts: give --task or --data.")
    of_model = {name: x for name, x in loading.keywords.items() if name != "local_only"}
    if model is None and setup is None and (unused := options.format_loading(of_model)):
        raise ArgumentError(
            f"There is no model to be loaded with{unused}: give --model, or leave that out."
        )
    if dictionary_revision is not None and Path(dictionary).exists():
        raise ArgumentError(
            f"--dictionary-revision is {dictionary_revision!r}, but {dictionary!r} is on this "
            "machine and has no revisions: leave it out."
        )
    given = {"k": k, "input_scale": input_scale, "hook": hook, "hook_out": hook_out}
    with output.show_spinner("reading the dictionary"):
        stored = _open_dictionaries(
            dictionary, layer, given, dictionary_revision, loading.local_only
        )
    record = _describe(dictionary, stored)
    if setup is not None:
        keep_compiled_programs()
        bench = open_setup(output, setup)
        record = _judge(output, record, stored, bench.model, bench.task, limit)
    elif model is not None:
        with output.show_spinner("loading the model"):
            record = _check_fit(record, stored, cg.load_model(model, **loading.keywords))
    output.print_result(record.model_dump_json(indent=2), *make_report(record))


def _open_dictionaries(
    name: str, layer: int | None, given: dict[str, Any], revision: str | None, local_only: bool
) -> Sequence[StoredDictionary]:
    """The dictionary of a layer or with a place of its own, or all that there are."""
    from circuitgraph.models.dictionaries.loading import open_dictionaries, open_dictionary

    where: dict[str, Any] = {"revision": revision, "local_only": local_only}
    if layer is not None or given["hook"] is not None or given["hook_out"] is not None:
        return [open_dictionary(name, layer=layer, **given, **where)]
    return open_dictionaries(name, k=given["k"], input_scale=given["input_scale"], **where)


def _describe(name: str, stored: Sequence[StoredDictionary]) -> DictionariesRecord:
    from circuitgraph.catalog.dictionary_record import DictionariesRecord
    from circuitgraph.evaluation.splice_quality import describe_dictionary

    described = [describe_dictionary(dictionary) for dictionary in stored]
    return DictionariesRecord(name=name, dictionaries=described, model=None, task=None, splice=None)


def _check_fit(
    record: DictionariesRecord, stored: Sequence[StoredDictionary], model: LanguageModel
) -> DictionariesRecord:
    """The record with the model that the dictionaries fit; raises `ModelError` if they do not."""
    from circuitgraph.models.dictionaries.checking import check_dictionary
    from circuitgraph.tasks.describing import describe_model

    for dictionary in stored:
        check_dictionary(dictionary, model.spec)
    return record.model_copy(update={"model": describe_model(model)})


def _judge(
    output: Output,
    record: DictionariesRecord,
    stored: Sequence[StoredDictionary],
    model: LanguageModel,
    task: Task,
    limit: int | None,
) -> DictionariesRecord:
    """The record with the quality of the dictionaries in a model on prompts of a task."""
    from circuitgraph.evaluation.splice_quality import measure_splice_quality
    from circuitgraph.jobs.workbench import draw_prompts
    from circuitgraph.tasks.describing import describe_task

    record = _check_fit(record, stored, model)  # before anything large is read
    prompts = draw_prompts(task, "evaluation", limit)
    with output.show_spinner("running the model with the reconstruction in it"):
        loaded = [dictionary.load(model.dtype) for dictionary in stored]
        splice = measure_splice_quality(model, loaded, prompts, seed=task.seed)
    prompts_record = describe_task(task, prompts, "evaluation")
    return record.model_copy(update={"task": prompts_record, "splice": splice})
