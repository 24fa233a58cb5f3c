"""Editing weights: nodes zeroed, scaled or kept alone, and what that does to tasks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from circuitgraph.catalog.edit_record import TaskChangeRecord
from circuitgraph.engine.batch import check_prompts
from circuitgraph.engine.experiment import Experiment
from circuitgraph.engine.masked.runs import run_whole_model
from circuitgraph.errors import ArgumentError, check_finite
from circuitgraph.evaluation.behaviour import measure_logits
from circuitgraph.evaluation.intervals import estimate_mean
from circuitgraph.jobs.workbench import draw_prompts
from circuitgraph.models.language_model import LanguageModel
from circuitgraph.models.node_weights import parse_nodes, scale_nodes
from circuitgraph.models.spec import Spec
from circuitgraph.models.transformer import Transformer
from circuitgraph.tasks.base import Task
from circuitgraph.tasks.describing import describe_task
from circuitgraph.tasks.metrics import metrics

_EDITED = " (edited)"


def edit_weights(
    model: LanguageModel, nodes: Sequence[str], *, scale: float = 0.0, keep_only: bool = False
) -> LanguageModel:
    """The model with the output weights of heads, MLPs or hidden neurons multiplied by a number.

    A node writes ``scale`` times what it wrote of the same input: a head by its part of the output
    matrix, a neuron by its column of the down-projection, an MLP by all of that and its bias. With
    0 it writes nothing, in every run: the model is then the circuit without the node's edges under
    zero ablation. Under a post-norm the node's sublayer is normed without it, so that what the
    others write changes in size.

    Args:
        nodes: ``a1.h2``, ``m0.n3``, ``m3``, or as papers call them.
        scale: 0 removes, 1 changes nothing.
        keep_only: the named nodes stay and all others of their kinds (heads, neurons, MLPs) are
            scaled, in all layers; biases of MLPs whose neurons are named stay as well.

    Returns:
        The edited model, whose name ends with "(edited)"; `save_model` writes it. The given one
        stays as it is.

    Raises:
        UnknownNameError: a name that is no node's.
        ArgumentError: nodes without weights of their own in this model, or a number that is none.
    """
    check_finite("scale", scale)
    chosen = parse_nodes(model.spec, nodes)
    edited = scale_nodes(model.transformer, chosen, scale, keep_only=keep_only)
    return rename_edited(model, edited)


def choose_neurons(
    model: LanguageModel,
    task: Task,
    share: float,
    *,
    n_prompts: int | None = None,
    memory: int | None = None,
) -> list[str]:
    """The hidden neurons that matter most to a task, of all MLPs together, for ``keep_only``.

    They are ranked by ``sum over prompts of |value * gradient|`` where the neuron writes: what
    zeroing it alone would change of the task's own metric, to first order. Prompts are those for
    searches.

    Args:
        share: of all neurons, above 0 and below 1; at least one is chosen.
        memory: limit in bytes for one launch.

    Raises:
        ArgumentError: a share without sense, or a model without neurons of its own.
        DataError: prompts that cannot be used.
    """
    check_share(share)
    parse_nodes(model.spec, ["m0.n0"])  # refuses experts and models without MLPs
    prompts = draw_prompts(task, "discovery", n_prompts)
    experiment = Experiment(model, prompts, metric=task.metric, ablation="zero", memory=memory)
    importances = experiment.attribution.neuron_importances()
    names = [f"m{layer}.n{i}" for layer, own in importances.items() for i in range(len(own))]
    ranked = np.argsort(-np.concatenate(list(importances.values())), kind="stable")
    return [names[i] for i in sorted(ranked[: max(1, round(share * len(names)))].tolist())]


def draw_neurons(spec: Spec, n: int, seed: int) -> list[str]:
    """As many neurons at random, of all MLPs together: what chosen ones are held against."""
    assert spec.d_mlp is not None  # noqa: S101 - neurons were chosen among those of MLPs
    drawn = np.random.default_rng(seed).choice(spec.n_layers * spec.d_mlp, n, replace=False)
    return [f"m{i // spec.d_mlp}.n{i % spec.d_mlp}" for i in sorted(drawn.tolist())]


def check_share(share: float) -> None:
    """Raise `ArgumentError` unless the share lies between 0 and 1."""
    if not 0 < share < 1:
        raise ArgumentError(f"The share of neurons is {share}, but must lie between 0 and 1.")


def rename_edited(model: LanguageModel, transformer: Transformer) -> LanguageModel:
    """The model with other weights, which its name says."""
    name = model.name.removesuffix(_EDITED) + _EDITED
    return replace(model, transformer=transformer, name=name)


def compare_models(
    before: LanguageModel,
    after: LanguageModel,
    tasks: Sequence[Task],
    *,
    metric: str | None = None,
    n_prompts: int | None = None,
) -> list[TaskChangeRecord]:
    """A metric on prompts for judging, of a model and of the model after an edit.

    Args:
        metric: each task's own if None.
        n_prompts: of each task: 200 if None, or fewer where a file has fewer.

    Raises:
        UnknownNameError: no metric of that name.
        DataError: prompts that the model cannot read, or the metric not score.
        ArgumentError: fewer than two prompts.
    """
    records = []
    for task in tasks:
        chosen = metrics[metric or task.metric]
        prompts = draw_prompts(task, "evaluation", n_prompts)
        check_prompts(before, prompts, chosen)
        full = run_whole_model(before.transformer, prompts)
        own = measure_logits(chosen, full, full, prompts)
        new = measure_logits(chosen, run_whole_model(after.transformer, prompts), full, prompts)
        if not np.isfinite(new).all():
            raise ArgumentError(
                f"The edited model's {chosen.name} on {task.name!r} is not finite: scale by less, "
                "or tune with a smaller learning rate."
            )
        records.append(
            TaskChangeRecord(
                task=describe_task(task, prompts, "evaluation"),
                metric=chosen.name,
                before=estimate_mean(own, task.seed, share=chosen.is_share),
                after=estimate_mean(new, task.seed, share=chosen.is_share),
                change=estimate_mean(new - own, task.seed),
            )
        )
    return records
