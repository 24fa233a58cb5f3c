"""Training a dictionary on what a model computes on the prompts of a task."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import jax.numpy as jnp
import numpy as np

from circuitgraph.catalog.dictionary_record import TrainingRecord
from circuitgraph.catalog.single_files import write_file
from circuitgraph.engine.splice import collect_values
from circuitgraph.errors import ArgumentError
from circuitgraph.evaluation.splice_quality import measure_splice_quality
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

STATE, RECORD = "training.safetensors", "training.json"
N_PROMPTS = 2000
_AT_ONCE = 50  # steps of one launch
_SECONDS_BETWEEN_SAVES = 30.0


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
    start_time = time.monotonic()
    settings.check()
    _check_places(reads, writes, model)
    folder = Path(folder).expanduser()
    n = n_prompts or min(N_PROMPTS, task.count_pairs("discovery") or N_PROMPTS)
    prompts = draw_prompts(task, "discovery", n)
    values = collect_values(model.transformer, prompts, list(dict.fromkeys((reads, writes))))
    state = start_training(values[0], values[-1], reads, writes, settings)
    name = f"{reads} to {writes} of {model.fingerprint[:12]} on {prompts.fingerprint[:12]}"
    description = f"{name}, {settings}"
    if resume:
        state = load_training(folder / STATE, state, description)
    state = _run_training(state, values, settings, folder / STATE, description, bar)
    judged = draw_prompts(task, "evaluation")
    quality = measure_splice_quality(model, [state.dictionary], judged, seed=task.seed)
    record = TrainingRecord(
        model=describe_model(model),
        task=describe_task(task, prompts, "discovery"),
        n_tokens=len(values[0]),
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
    values: Sequence[np.ndarray],
    settings: TrainingSettings,
    file: Path,
    description: str,
    bar: bool,
) -> TrainingState:
    """Take the steps that are left; the state is saved on the way and at the end."""
    x, y = jnp.asarray(values[0]), jnp.asarray(values[-1])
    done, saved = int(state.step), time.monotonic()
    with show_progress(settings.steps, "training", "step", bar=bar, done=done) as progress:
        while done < settings.steps:
            n = min(_AT_ONCE, settings.steps - done)
            state = train_steps(state, x, y, settings, n)
            done += n
            progress.advance(n, f"{float(state.loss):.3f} of the variance left")
            if time.monotonic() - saved > _SECONDS_BETWEEN_SAVES:
                save_training(file, state, description)
                saved = time.monotonic()
    save_training(file, state, description)
    return state


def _check_places(reads: Hook, writes: Hook, model: LanguageModel) -> None:
    check_hooks((reads, writes), model.spec)
    is_transcoder = reads.place in MLP_INPUTS and writes.after_mlp and reads.layer == writes.layer
    if reads != writes and not is_transcoder:
        raise ArgumentError(
            f"A dictionary cannot be trained from {reads} to {writes}: an autoencoder writes where "
            "it reads, a transcoder reads an MLP's input and writes that MLP's output."
        )
