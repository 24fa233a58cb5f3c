"""Fine-tuning on a task: the parameters of chosen nodes alone, or all of a model's."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Int

from circuitgraph.catalog.edit_record import LoraRecord, TuningRecord
from circuitgraph.engine.batch import check_prompts, make_batch
from circuitgraph.engine.fine_tuning import (
    LayerChoice,
    Numbers,
    Tunable,
    open_model,
    open_nodes,
    run_tuning_step,
    start_optimiser,
)
from circuitgraph.engine.low_rank import LowRankChange
from circuitgraph.errors import ArgumentError, check_at_least, check_between, list_problems
from circuitgraph.graph.node import Node
from circuitgraph.jobs.edit import rename_edited
from circuitgraph.jobs.workbench import draw_prompts
from circuitgraph.models.language_model import LanguageModel
from circuitgraph.models.node_weights import parse_nodes
from circuitgraph.models.spec import Spec
from circuitgraph.progress import show_progress
from circuitgraph.tasks.base import Task
from circuitgraph.tasks.metrics import metrics
from circuitgraph.tasks.prompts import Prompts

N_PROMPTS = 512
LEARNING_RATE = 1e-4
RANK = 8
MOST_STEPS = 1_000_000
_FLOATS = ("float32", "float64")


@dataclass(frozen=True)
class FineTuning:
    """A tuned model.

    Attributes:
        losses: cross-entropy in nats of each step's prompts, before the step.
    """

    model: LanguageModel
    losses: list[float]
    record: TuningRecord


def fine_tune(
    model: LanguageModel,
    task: Task,
    *,
    nodes: Sequence[str] | None = None,
    lora: int | None = None,
    rank: int | None = None,
    steps: int = 100,
    learning_rate: float = LEARNING_RATE,
    batch_size: int = 16,
    n_prompts: int | None = None,
    bar: bool = False,
) -> FineTuning:
    """Tune a model on a task's prompts for searches, by Adam on the cross-entropy of the answers.

    The same arguments give the same model. Gradients are clipped to a norm of 1.

    Args:
        nodes: heads (queries, output; keys and values where no other head shares them, or all that
            share them are named), MLPs (all weights but norms) and hidden neurons (their rows and
            columns). Other heads and MLPs compute what they computed. None: all parameters.
        lora: instead of nodes, a layer to whose query and value matrices changes of low rank are
            added (`LowRankChange`).
        rank: of these; 8 if None.
        learning_rate: of Adam.
        batch_size: prompts of a step, drawn without repetition until all were seen.
        n_prompts: 512, or all of a file with fewer, if None.
        bar: show progress and time left.

    Raises:
        UnknownNameError, ArgumentError: nodes that cannot be tuned, or numbers that make no sense;
            a model that was loaded in 16 bits, in which small steps vanish; a loss that is not
            finite.
        DataError: prompts that the model cannot read, or without answers.
    """
    check_numbers(steps, learning_rate, batch_size)
    _check_precision(model)
    choices = _read_choices(model.spec, nodes, lora, rank, task.seed)
    prompts = _draw_training(task, n_prompts)
    check_prompts(model, prompts, metrics["cross_entropy"])
    begun = time.monotonic()
    network, numbers = (
        open_model(model.transformer) if choices is None else open_nodes(model.transformer, choices)
    )
    rows = _draw_rows(len(prompts), min(batch_size, len(prompts)), task.seed)
    run = _run_steps(network, numbers, prompts, rows, steps, learning_rate, bar)
    tail = run.losses[-max(1, steps // 10) :]
    record = TuningRecord(
        nodes=None if nodes is None else list(nodes),
        lora=None if lora is None else LoraRecord(layer=lora, rank=rank or RANK),
        n_tuned=sum(array.size for array in numbers),
        n_parameters=model.n_parameters,
        steps=steps,
        batch_size=min(batch_size, len(prompts)),
        learning_rate=learning_rate,
        n_prompts=len(prompts),
        seconds=time.monotonic() - begun,
        step_seconds=float(np.median(run.seconds[1:] or run.seconds)),
        loss_first=run.losses[0],
        loss_last=float(np.mean(tail)),
    )
    tuned = network.build_model(run.numbers)
    return FineTuning(rename_edited(model, tuned), run.losses, record)


def _read_choices(
    spec: Spec, nodes: Sequence[str] | None, lora: int | None, rank: int | None, seed: int
) -> Mapping[int, LayerChoice | LowRankChange] | None:
    """What is tuned of each layer; None for all of the model."""
    check_lora(lora, rank)
    if lora is None:
        return None if nodes is None else choose_layers(spec, parse_nodes(spec, nodes))
    if nodes is not None:
        raise ArgumentError(f"Both nodes and lora={lora} were given: tune one of them.")
    check_between("lora", lora, 0, spec.n_layers - 1)
    most = min(spec.d_model, spec.n_kv_heads * spec.d_head)
    check_between("rank", rank or RANK, 1, most)
    return {lora: LowRankChange(rank or RANK, seed)}


def check_lora(lora: int | None, rank: int | None) -> None:
    """Raise `ArgumentError` for a rank without a layer, or one that no matrix has."""
    if rank is not None:
        check_at_least("rank", rank, 1)
    if rank is not None and lora is None:
        raise ArgumentError(f"rank is {rank}, but lora names no layer: name one.")


def choose_layers(spec: Spec, nodes: Sequence[Node]) -> dict[int, LayerChoice]:
    """What is tuned of each layer, for these nodes.

    Raises:
        ArgumentError: MLPs of experts, of which each token tunes others.
    """
    experts = [str(node) for node in nodes if node.kind == "mlp" and spec.experts is not None]
    if experts:
        raise ArgumentError(list_problems("Mixtures of experts cannot be tuned alone:", experts))
    return {
        layer: _choose_parts(spec, [node for node in nodes if node.layer == layer])
        for layer in sorted({node.layer for node in nodes})
    }


def _choose_parts(spec: Spec, nodes: Sequence[Node]) -> LayerChoice:
    heads = {node.index for node in nodes if node.kind == "head"}
    neurons = {node.index for node in nodes if node.kind == "neuron"}
    n_shared = spec.n_heads // spec.n_kv_heads  # heads that share keys and values
    groups = [set(range(i * n_shared, (i + 1) * n_shared)) for i in range(spec.n_kv_heads)]
    is_whole = any(node.kind == "mlp" for node in nodes)
    return LayerChoice(
        heads=tuple(sorted(heads)),
        kv_heads=tuple(i for i, group in enumerate(groups) if group <= heads),
        neurons=None if is_whole else tuple(sorted(neurons)),
    )


def check_numbers(
    steps: int = 1, learning_rate: float = LEARNING_RATE, batch_size: int = 1
) -> None:
    """Raise `ArgumentError` for numbers of a tuning that make no sense."""
    check_between("steps", steps, 1, MOST_STEPS)
    check_at_least("batch_size", batch_size, 1)
    if not 0 < learning_rate < 1:
        raise ArgumentError(f"learning_rate is {learning_rate}, but must lie between 0 and 1.")


def _check_precision(model: LanguageModel) -> None:
    if model.dtype not in _FLOATS:
        raise ArgumentError(
            f"{model.name!r} is loaded in {model.dtype}, in which small steps vanish: load it with "
            "dtype float32 to tune it."
        )


def _draw_training(task: Task, n_prompts: int | None) -> Prompts:
    return draw_prompts(task, "discovery", n_prompts, default=N_PROMPTS)


def _draw_rows(n: int, batch_size: int, seed: int) -> Iterator[Int[np.ndarray, " rows"]]:
    """Numbers of prompts for each step: all of them in a random order, again and again."""
    rng = np.random.default_rng(seed)
    while True:
        order = rng.permutation(n)
        for start in range(0, n - batch_size + 1, batch_size):
            yield order[start : start + batch_size]


class TuningRun(NamedTuple):
    """The tuned numbers; the loss and the seconds of each step."""

    numbers: Numbers
    losses: list[float]
    seconds: list[float]


def _run_steps(
    network: Tunable,
    numbers: Numbers,
    prompts: Prompts,
    rows: Iterator[Int[np.ndarray, " rows"]],
    steps: int,
    learning_rate: float,
    bar: bool,
) -> TuningRun:
    state, losses, seconds = start_optimiser(numbers, learning_rate), [], []
    with show_progress(steps, "tuning", "step", bar=bar) as progress:
        for step in range(steps):
            begun, batch = time.monotonic(), make_batch(prompts, next(rows))
            numbers, state, loss = run_tuning_step(
                network, numbers, state, batch.inputs, batch.targets, learning_rate
            )
            losses.append(float(loss))
            jax.block_until_ready(numbers)
            seconds.append(time.monotonic() - begun)
            if not np.isfinite(losses[-1]):
                raise ArgumentError(
                    f"The loss of step {step + 1} is not finite: tune with a smaller learning rate "
                    f"than {learning_rate}."
                )
            progress.advance(1, f"cross-entropy {losses[-1]:.3f}")
    return TuningRun(numbers, losses, seconds)
