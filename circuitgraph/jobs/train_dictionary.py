"""Training a dictionary on what a model computes on the prompts of a task, or a file of tokens."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from pathlib import Path

import jax.numpy as jnp

from circuitgraph.catalog.dictionary_record import TrainingRecord
from circuitgraph.catalog.records import TaskRecord
from circuitgraph.catalog.single_files import write_file
from circuitgraph.errors import ArgumentError
from circuitgraph.evaluation.splice_quality import measure_splice_quality
from circuitgraph.jobs.token_values import ValueBlocks, collect_prompt_values, cut_token_file
from circuitgraph.jobs.workbench import draw_prompts
from circuitgraph.models.dictionaries.checking import check_hooks
from circuitgraph.models.dictionaries.hooks import MLP_INPUTS, Hook
from circuitgraph.models.dictionaries.saving import save_dictionary
from circuitgraph.models.dictionaries.training import (
    TrainingSettings,
    TrainingState,
    start_training,
    train_steps,
)
from circuitgraph.models.dictionaries.training_file import load_training, save_training
from circuitgraph.models.language_model import LanguageModel
from circuitgraph.progress import show_progress
from circuitgraph.tasks.base import Task
from circuitgraph.tasks.describing import describe_model, describe_task
from circuitgraph.tasks.prompts import Prompts
from circuitgraph.tasks.token_file import TokenFile

STATE, RECORD = "training.safetensors", "training.json"
N_PROMPTS = 2000
_SECONDS_BETWEEN_SAVES = 30.0


@dataclass(frozen=True)
class _Source:
    """What is trained on, and what is judged on.

    Attributes:
        name: of what is trained on, by its hash, so that another training is not gone on with.
    """

    blocks: ValueBlocks
    name: str
    record: TaskRecord
    n_tokens: int
    judged: Prompts
    seed: int


def train_dictionary(
    model: LanguageModel,
    task: Task,
    reads: Hook,
    writes: Hook,
    settings: TrainingSettings,
    folder: str | Path,
    *,
    n_prompts: int | None = None,
    resume: bool = False,
    bar: bool = False,
) -> TrainingRecord:
    """Train on a task's prompts for searches, measure on those for judging, save as SAELens does.

    The same settings give the same dictionary, whether the training was interrupted or not.

    Args:
        reads, writes: the same place for an autoencoder; for a transcoder an input of an MLP, and
            that MLP's output.
        folder: for ``cfg.json``, ``sae_weights.safetensors``, ``training.json`` and the state from
            which ``resume`` goes on.
        n_prompts: 2,000, or all of a file with fewer, if None.

    Raises:
        ArgumentError: settings or places with which nothing can be trained, or no such training to
            go on with.
        ModelError: the model does not have these places.
    """
    settings.check()
    _check_places(reads, writes, model)
    n = n_prompts or min(N_PROMPTS, task.count_pairs("discovery") or N_PROMPTS)
    prompts = draw_prompts(task, "discovery", n)
    blocks = collect_prompt_values(model, prompts, _list_hooks(reads, writes))
    record = describe_task(task, prompts, "discovery")
    judged = draw_prompts(task, "evaluation")
    source = _Source(blocks, prompts.fingerprint[:12], record, blocks.n_tokens, judged, task.seed)
    return _train(model, source, reads, writes, settings, folder, resume, bar)


def train_dictionary_on_file(
    model: LanguageModel,
    file: TokenFile,
    reads: Hook,
    writes: Hook,
    settings: TrainingSettings,
    folder: str | Path,
    *,
    resume: bool = False,
    bar: bool = False,
) -> TrainingRecord:
    """Train on a file of tokens, measure on the sequences that it keeps apart.

    As `train_dictionary`, but that the values of no more than some tokens are in memory: the model
    runs on a block of the file, steps are taken on its tokens, and the next block comes.

    Args:
        file: of `circuitgraph.tasks.token_file.open_token_file`.
    """
    settings.check()
    _check_places(reads, writes, model)
    blocks = cut_token_file(model, file, _list_hooks(reads, writes))
    record = TaskRecord(
        name=file.documents.path.stem,
        arguments={"tokens": str(file.documents.path), "context": file.context},
        seed=settings.seed,
        split="discovery",
        n_prompts=file.n_sequences,
        prompts_sha256=file.sha256,
    )
    judged = file.make_judged_prompts()
    name = f"{file.sha256[:12]} in {file.n_sequences} of {file.context}"
    source = _Source(blocks, name, record, file.n_tokens, judged, settings.seed)
    return _train(model, source, reads, writes, settings, folder, resume, bar)


def _train(
    model: LanguageModel,
    source: _Source,
    reads: Hook,
    writes: Hook,
    settings: TrainingSettings,
    folder: str | Path,
    resume: bool,
    bar: bool,
) -> TrainingRecord:
    """Train, judge and save."""
    start_time = time.monotonic()
    folder = Path(folder).expanduser()
    first = source.blocks.read(0)
    state = start_training(first[0], first[-1], reads, writes, settings)
    description = f"{reads} to {writes} of {model.fingerprint[:12]} on {source.name}, {settings}"
    if resume:
        state = load_training(folder / STATE, state, description)
    state = _run_training(state, source.blocks, settings, folder / STATE, description, bar)
    quality = measure_splice_quality(model, [state.dictionary], source.judged, seed=source.seed)
    record = TrainingRecord(
        model=describe_model(model),
        task=source.record,
        n_tokens=source.n_tokens,
        reads=str(reads),
        writes=str(writes),
        settings=asdict(settings),
        unexplained=float(state.loss),
        seconds=time.monotonic() - start_time,
        splice=quality,
    )
    save_dictionary(state.dictionary, folder)
    content = record.model_dump_json(indent=2).encode() + b"\n"
    write_file(folder / RECORD, content, is_own=lambda old: b'"schema_version"' in old)
    return record


def _run_training(
    state: TrainingState,
    blocks: ValueBlocks,
    settings: TrainingSettings,
    file: Path,
    description: str,
    bar: bool,
) -> TrainingState:
    """Take the steps that are left; the state is saved on the way and at the end."""
    done, saved, at = int(state.step), time.monotonic(), -1
    x = y = jnp.zeros(0)
    with show_progress(settings.steps, "training", "step", bar=bar, done=done) as progress:
        while done < settings.steps:
            block, n = blocks.plan_launch(done, settings.batch, settings.steps)
            if block != at:
                progress.rename("running the model")
                values = blocks.read(block)
                x, y, at = jnp.asarray(values[0]), jnp.asarray(values[-1]), block
                progress.rename("training")
            state = train_steps(state, x, y, settings, n)
            done += n
            progress.advance(n, f"{float(state.loss):.3f} of the variance left")
            if time.monotonic() - saved > _SECONDS_BETWEEN_SAVES:
                save_training(file, state, description)
                saved = time.monotonic()
    save_training(file, state, description)
    return state


def _list_hooks(reads: Hook, writes: Hook) -> list[Hook]:
    return list(dict.fromkeys((reads, writes)))


def _check_places(reads: Hook, writes: Hook, model: LanguageModel) -> None:
    check_hooks((reads, writes), model.spec)
    is_transcoder = reads.place in MLP_INPUTS and writes.after_mlp and reads.layer == writes.layer
    if reads != writes and not is_transcoder:
        raise ArgumentError(
            f"A dictionary cannot be trained from {reads} to {writes}: an autoencoder writes where "
            "it reads, a transcoder reads an MLP's input and writes that MLP's output."
        )
