"""What jobs have in common: the prompts that they draw, the experiment, the facts of a search."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from circuitgraph.discovery.journal import Journal
from circuitgraph.engine.experiment import Experiment
from circuitgraph.errors import DataError
from circuitgraph.graph.graph import Graph
from circuitgraph.graph.space import SearchSpace
from circuitgraph.models.language_model import LanguageModel
from circuitgraph.tasks.base import Task
from circuitgraph.tasks.describing import describe_environment, describe_model, describe_task
from circuitgraph.tasks.prompts import Prompts, Split

N_DISCOVERY = 50
N_EVALUATION = 200


def draw_prompts(
    task: Task, split: Split, n: int | None = None, *, default: int | None = None
) -> Prompts:
    """Draw ``n`` prompts; if None, the default number (of the split, if None too), or all where a
    file has fewer.
    """
    if n is None:
        default = default or (N_DISCOVERY if split == "discovery" else N_EVALUATION)
        supply = task.count_pairs(split)
        if supply == 0:
            raise DataError(
                f"{task.name!r} has no pair for {split}: all of them are for the search "
                "(judging=False). Judge on another file."
            )
        n = min(default, supply or default)
    return task.prompts(n, split)


def prepare_experiment(
    model: LanguageModel,
    task: Task,
    *,
    split: Split = "discovery",
    direct: bool = False,
    grouped: bool = False,
    metric: str | None = None,
    ablation: str = "resample",
    n_prompts: int | None = None,
    memory: int | None = None,
    space: SearchSpace | None = None,
    at_once: int | None = None,
    graph: Graph | None = None,
) -> tuple[Experiment, Prompts]:
    """The experiment that `discover` searches in (or `evaluate` judges by), and its prompts.

    Args:
        graph: by default the model's own, as ``direct`` and ``grouped`` say.
    """
    prompts = draw_prompts(task, split, n_prompts)
    graph = model.graph(direct=direct, grouped=grouped) if graph is None else graph
    experiment = Experiment(
        model,
        prompts,
        metric=metric or task.metric,
        ablation=ablation,
        graph=graph,
        memory=memory,
        space=space,
        at_once=at_once,
    )
    return experiment, prompts


def describe_search(model: LanguageModel, task: Task, prompts: Prompts) -> dict[str, Any]:
    """Model, prompts and environment of a search, as plain JSON values."""
    records = {
        "model": describe_model(model),
        "task": describe_task(task, prompts, "discovery"),
        "environment": describe_environment(model.dtype),
    }
    return {name: record.model_dump(mode="json") for name, record in records.items()}


def open_journal(path: str | Path | None, origin: Mapping[str, Any], anew: bool) -> Journal | None:
    """The journal of a search on these weights and prompts, under the versions that matter."""
    if path is None:
        return None
    versions = {
        name: origin["environment"]["versions"][name]
        for name in ("circuitgraph", "jax", "jaxlib", "numpy")
    }
    environment = {**origin["environment"], "versions": versions}
    facts = {"model": origin["model"], "task": origin["task"], "environment": environment}
    return Journal(Path(path), facts, anew)
